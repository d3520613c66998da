"""The page that shows a template in every locale: subject, text beside HTML, with example variables.

What it shows is foreign: it runs no script, loads nothing, and each mail is in a frame that may do nothing. The page
holds its own policy, too, because a browser sends no API key: people save the page and open the file.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

from starlette.responses import Response

from ..intake.template_engine import Rendered

# A frame without a URL inherits the policy of the page, and mails have their styles in attributes.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_HEADERS = {
    "Content-Security-Policy": f"{_POLICY}; frame-ancestors 'none'; sandbox",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_STYLE = (
    ":root{color-scheme:light dark;font:1rem/1.5 system-ui,sans-serif}"
    "body{max-width:80rem;margin:2rem auto;padding:0 1rem}"
    ".both{display:flex;flex-wrap:wrap;gap:1rem}"
    "pre,iframe{flex:1 1 34rem;box-sizing:border-box;min-width:0;height:40rem;margin:0;border:1px solid #888}"
    "pre{padding:1rem;font-size:.75rem;overflow:auto;white-space:pre-wrap;overflow-wrap:anywhere}"
)


def page(description: dict[str, Any], mails: Sequence[Rendered]) -> Response:
    """`description` is that of the template, `mails` has each of its locales."""
    title = f"Template {description['name']}, version {description['version']}"
    content = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>{escape(description["description"])}. With the example variables; images from elsewhere are not loaded.</p>
{"".join(map(_section, mails))}</body>
</html>
"""
    return Response(content, headers=_HEADERS, media_type="text/html")


def _section(mail: Rendered) -> str:
    locale = escape(mail.locale)
    return f"""<section lang="{locale}">
<h2>{locale}: <span dir="auto">{escape(mail.subject)}</span></h2>
<div class="both">
<pre dir="auto">
{escape(mail.text)}</pre>
<iframe title="HTML, {locale}" sandbox="" srcdoc="{escape(mail.html)}"></iframe>
</div>
</section>
"""
