"""The runbook as a list of commands: of docs/operating.md the lines of its ```sh blocks, whole ```sql blocks, and what
stands in its text; of docs/restoring.md, which shows files too, the lines after a `$`, and what stands in its text.
"""

import re
from collections.abc import Iterator

from tests.support.databases import ROOT

PAGE = ROOT / "docs" / "operating.md"
RESTORING = ROOT / "docs" / "restoring.md"
_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_WITHIN_TEXT = re.compile(r"`((?:signup|mail|pages|python -m|psql|pg_\w+|curl|tail|docker compose) [^`]+)`")
# What is set up before any command, by hand once a shell.
_PREAMBLE = "signup() {"


def blocks(language: str) -> list[str]:
    return [text for name, text in _BLOCK.findall(PAGE.read_text(encoding="utf-8")) if name == language]


def preamble() -> str:
    """The first block, which makes a shell that knows `signup` and `mail`."""
    (found,) = [block for block in blocks("sh") if _PREAMBLE in block]
    return found


def commands() -> list[str]:
    """Each one once, without its comment, in the order of the page. A block of SQL is one command."""
    lines = [line for block in blocks("sh") if _PREAMBLE not in block for line in _lines(block)]
    restoring = RESTORING.read_text(encoding="utf-8")
    shown = [line[2:] for _, block in _BLOCK.findall(restoring) for line in _lines(block) if line.startswith("$ ")]
    found = [*lines, *_within_text(PAGE.read_text(encoding="utf-8")), *shown, *_within_text(restoring)]
    return list(dict.fromkeys([*found, *(block.strip() for block in blocks("sql"))]))


def _lines(block: str) -> Iterator[str]:
    for line in block.replace("\\\n", " ").splitlines():
        if command := re.sub(r"(^|\s{2,})# .*$", "", line).strip():
            yield re.sub(r"\s{2,}", " ", command)


def _within_text(text: str) -> Iterator[str]:
    for command in _WITHIN_TEXT.findall(_BLOCK.sub("", text)):
        yield re.sub(r"\s+", " ", command).strip()


def sections() -> dict[str, str]:
    """The text below each `###` heading."""
    parts = re.split(r"^(#{2,3}) (.+)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: text for mark, name, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True) if mark == "###"}
