"""What `make site` does beyond mkdocs.yml: hooks of MkDocs. docs/render.py uses `ELSEWHERE`, `entries` and `in_site`.

- Documents that lie elsewhere in the repository become pages, and links between all of them are followed.
- A link to a file that is no page, such as a test, becomes its path: the site names no repository host.
- Diagrams are drawn by mermaid in the browser, from a copy of its script in the site (SITE_SCRIPTS names its folder).
- llms.txt and the Markdown of each page lie beside the pages.
- Nothing is loaded from other hosts: the build fails if a page would.
"""

import functools
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# Path in the repository: path among the pages.
ELSEWHERE = {
    "README.md": "index.md",
    "client/README.md": "client/README.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
SCRIPTS = ("mermaid.min.js", "iframe-worker.js")
_written: dict[str, str] = {}  # the Markdown of each page, with its links as the site needs them
_FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)|(!\[[^\]]*\])\(([^)\s]+)\)")
_ITEM = re.compile(r"(-|\d+\.) +(?=\S)")
_LOADED = re.compile(r"""<(?:script|img|iframe)[^>]* src="?(https?:[^\s">]+)|<link[^>]* href="?(https?:[^\s">]+)""")


def entries(nav: list[Any], title: str = "") -> Iterator[tuple[str, str]]:
    """(section, page) of each page in `nav`, in order; the section is the title at the top level."""
    for item in nav:
        if isinstance(item, str):
            yield title, item
            continue
        ((name, below),) = item.items()
        if isinstance(below, str):
            yield title or name, below
        else:
            yield from entries(below, title or name)


def in_repository(page: str) -> str:
    """The file that a page is made from."""
    return next((source for source, target in ELSEWHERE.items() if target == page), f"docs/{page}")


def in_site(path: str) -> str | None:
    """The page that is made from a file of the repository, or the file that lies beside the pages; None for others."""
    if path in ELSEWHERE:
        return ELSEWHERE[path]
    is_page = path.startswith("docs/") and not path.endswith(".py")
    return path.removeprefix("docs/") if is_page else None


def on_config(config: "MkDocsConfig") -> "MkDocsConfig":
    from pymdownx.slugs import slugify  # noqa: PLC0415 - docs/render.py has neither
    from pymdownx.superfences import fence_code_format  # noqa: PLC0415

    diagrams = {"name": "mermaid", "class": "mermaid", "format": fence_code_format}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [diagrams]}
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")  # as code hosts name headings
    config.extra_javascript.append("mermaid.min.js")
    config.extra["polyfills"] = ["iframe-worker.js"]
    config.nav = _with_each_file(config.nav)
    return config


def _with_each_file(nav: list[Any]) -> list[Any]:
    """`nav` with `folder/*` replaced by the records of that folder."""
    expanded: list[Any] = []
    for item in nav:
        if isinstance(item, str) and item.endswith("/*"):
            folder = ROOT / "docs" / item.removesuffix("/*")
            names = sorted(file.name for file in folder.glob("*.md") if file.name != "README.md")
            expanded += [f"{folder.name}/{name}" for name in names]
        elif isinstance(item, dict):
            expanded.append({name: _with_each_file(b) if isinstance(b, list) else b for name, b in item.items()})
        else:
            expanded.append(item)
    return expanded


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    from mkdocs.structure.files import File  # noqa: PLC0415 - as above

    scripts = os.environ.get("SITE_SCRIPTS")
    if not scripts:
        raise SystemExit("SITE_SCRIPTS must name the folder that requirements/docs-scripts fills: call `make site`")
    for source, page in ELSEWHERE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for name in SCRIPTS:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / scripts / name)))
    return files


def on_page_markdown(markdown: str, page: "Page", **_: Any) -> str:
    if page.parent is None:
        page.meta["hide"] = ["navigation"]  # a part of one page has no list beside it
    source = in_repository(page.file.src_uri)
    follow = functools.partial(_follow, source, page.file.src_uri)
    parts = _FENCE.split(markdown)
    parts[::2] = [_LINK.sub(follow, part) for part in parts[::2]]
    _written[page.file.src_uri] = "".join(parts)
    return _deepened(_written[page.file.src_uri])


def _deepened(markdown: str) -> str:
    """Lists as Python-Markdown wants them: their contents four columns deep, and an empty line before them."""
    lines: list[str] = []
    width, in_block = 0, False
    for line in markdown.split("\n"):
        marker = None if in_block else _ITEM.match(line)
        if line.startswith("```"):
            in_block = not in_block
        if marker:
            if not width and lines and lines[-1]:
                lines.append("")
            width = len(marker[0])
            lines.append(marker[1] + " " * (4 - len(marker[1])) + line[width:])
        elif width and line.startswith(" " * width):
            lines.append(" " * 4 + line[width:])
        else:
            # A line that is not indented goes on with the item before it, unless an empty one stands between.
            width = width if not line or (lines and lines[-1]) else 0
            lines.append(line)
    return "\n".join(lines)


def _follow(source: str, page: str, link: re.Match[str]) -> str:
    """A link of the file `source`, as the page needs it."""
    text, target = (link[1], link[2]) if link[2] else (link[3], link[4])
    path, mark, anchor = target.partition("#")
    if not path or re.match(r"[a-z]+:", path):
        return link[0]
    name = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if (ROOT / name / "README.md").exists():
        name += "/README.md"
    if not (ROOT / name).exists():
        return link[0]  # MkDocs names it, and fails
    found = in_site(name)
    if found is None:
        return text if text.strip("`") == name else f"{text} (`{name}`)"
    target = posixpath.relpath(found, posixpath.dirname(page) or ".") + mark + anchor
    return f"{text}({target})" if link[3] else f"[{text}]({target})"


def on_post_build(config: "MkDocsConfig") -> None:
    site = Path(config.site_dir)
    for page, markdown in _written.items():
        (site / page).parent.mkdir(parents=True, exist_ok=True)
        (site / page).write_text(markdown)
    index = (ROOT / "llms.txt").read_text()
    (site / "llms.txt").write_text(re.sub(r"\]\(([^):]+)\)", lambda link: f"]({in_site(link[1])})", index))
    for script in site.glob("assets/javascripts/*.js"):
        # The theme would fetch what it finds missing, which never happens here: mermaid lies beside the pages.
        script.write_text(script.read_text().replace("https://unpkg.com/", ""))
    for file in site.rglob("*.html"):
        for match in _LOADED.finditer(file.read_text()):
            raise SystemExit(f"{file.relative_to(site)} would load {match[1] or match[2]}")
