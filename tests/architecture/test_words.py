"""Retired words stay retired: the glossary has the term to use instead."""

import re

from tests.support.databases import ROOT

RETIRED = re.compile(
    r"\b(whoever|nobody|anybody|somebody|books?|fates?|heal(s|ing)?|mend(s|ed|ing)?|walks?|clerks?|desk|bell|"
    r"mail_fates|mail_side|moments?|edge|longevity|take_in|taken_in|laid side)\b",
    re.IGNORECASE,
)
# The API says `heal` (API.md), `walk` and `nobody` are names of others: Python's e-mail package, a user of the system.
ALLOWED = re.compile(r"\.walk\(|\"nobody\"|\bheal: bool|\bbody\.heal\b|\"heal\"|right edge")


def test_no_retired_word_stands_in_the_code() -> None:
    for folder in ("services", "shared", "local", "migrations"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for number, line in enumerate(file.read_text().splitlines(), 1):
                found = RETIRED.search(ALLOWED.sub("", line))
                assert found is None, f"{file.relative_to(ROOT)}:{number}: {found and found.group()}"
