"""Makes a mail's HTML safe to show: a document for a sandboxed frame, without scripts and without remote content."""

import base64
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from urllib.parse import unquote

# The mail itself comes after it, so it cannot be taken away. The frame's sandbox and the page's policy forbid the same.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_HEAD = f'<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
_INLINE_IMAGE = re.compile(r"""cid:([^\s"'()<>]+)""", re.IGNORECASE)
IMAGE_TYPES = frozenset(["image/bmp", "image/gif", "image/jpeg", "image/png", "image/webp"])
# A mail may name one image thousands of times.
MOST_INLINED_CHARACTERS = 50_000_000


def document(html: str, images: Mapping[str, tuple[str, bytes]]) -> str:
    """`images` are type and bytes by Content-ID. They replace the `cid:` URLs."""
    left = MOST_INLINED_CHARACTERS

    def inlined(reference: re.Match[str]) -> str:
        nonlocal left
        content_type, image = images.get(unquote(reference[1]), ("", b""))
        if content_type not in IMAGE_TYPES or (left := left - 2 * len(image)) < 0:
            return reference[0]
        return f"data:{content_type};base64,{base64.b64encode(image).decode()}"

    return _HEAD + _INLINE_IMAGE.sub(inlined, html)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        url = dict(attrs).get("href") or ""
        if tag == "a" and url.lower().startswith(("https://", "http://")):
            self.found.append(url)


def links(html: str) -> list[str]:
    """The web addresses that the mail links to, each once. Nothing can be opened from inside the frame."""
    parser = _Links()
    parser.feed(html)
    return list(dict.fromkeys(parser.found))
