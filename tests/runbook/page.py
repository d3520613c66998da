"""Reads the runbook's commands: from docs/operating.md the lines of ```sh blocks, whole ```sql blocks and inline code;
from docs/restoring.md, whose blocks also show files, the lines after a `$` and inline code. docs/failover.md is read in
the same way, for tests/faults/test_failover.py.
"""

import re
from collections.abc import Iterator

from tests.support.databases import ROOT

PAGE = ROOT / "docs" / "operating.md"
RESTORING = ROOT / "docs" / "restoring.md"
FAILOVER = ROOT / "docs" / "failover.md"
_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_WITHIN_TEXT = re.compile(r"`((?:signup|mail|pages|python -m|psql|pg_\w+|curl|tail|docker compose) [^`]+)`")
# What marks the blocks that set up the shell.
_PREAMBLE = ("run.env", "signup() {")


def blocks(language: str) -> list[str]:
    return [text for name, text in _BLOCK.findall(PAGE.read_text(encoding="utf-8")) if name == language]


def preamble() -> str:
    """The two blocks that set up the shell under `make run`: addresses and keys, then `signup`, `mail` and `pages`."""
    first, second = [block for block in blocks("sh") if _sets_up(block)]
    return first + second


def functions() -> str:
    """The second of them: `signup`, `mail` and `pages`."""
    return [block for block in blocks("sh") if _sets_up(block)][1]


def compose_preamble() -> str:
    """The block that takes the place of the first one with Docker Compose."""
    (found,) = blocks("bash")
    return found


def _sets_up(block: str) -> bool:
    return any(mark in block for mark in _PREAMBLE)


def commands() -> list[str]:
    """Each command once, without its comment, in page order. An SQL block is one command."""
    lines = [line for block in blocks("sh") if not _sets_up(block) for line in _lines(block)]
    restoring = RESTORING.read_text(encoding="utf-8")
    found = [*lines, *_within_text(PAGE.read_text(encoding="utf-8")), *prompts(restoring), *_within_text(restoring)]
    return list(dict.fromkeys([*found, *(block.strip() for block in blocks("sql"))]))


def prompts(text: str) -> list[str]:
    """The lines after a `$` in the blocks of `text`."""
    return [line[2:] for _, block in _BLOCK.findall(text) for line in _lines(block) if line.startswith("$ ")]


def failover_steps() -> dict[str, list[str]]:
    """The commands of docs/failover.md below each `##` heading."""
    _, *parts = re.split(r"^## (.+)\n", FAILOVER.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {heading: prompts(text) for heading, text in zip(parts[::2], parts[1::2], strict=True)}


def _lines(block: str) -> Iterator[str]:
    for line in block.replace("\\\n", " ").splitlines():
        if command := re.sub(r"(^|\s{2,})# .*$", "", line).strip():
            yield re.sub(r"\s{2,}", " ", command)


def _within_text(text: str) -> Iterator[str]:
    for command in _WITHIN_TEXT.findall(_BLOCK.sub("", text)):
        yield re.sub(r"\s+", " ", command).strip()


def sections() -> dict[str, str]:
    """The text below each `###` heading, by heading."""
    parts = re.split(r"^(#{2,3}) (.+)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: text for mark, name, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True) if mark == "###"}
