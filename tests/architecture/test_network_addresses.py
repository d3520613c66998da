"""Network addresses are read in one place, so that each has one spelling."""

import re

from tests.support.databases import ROOT

READER = "shared/contract/network.py"


def test_only_one_module_reads_network_addresses() -> None:
    readers = [
        path.relative_to(ROOT).as_posix()
        for folder in ("services", "shared")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"^\s*(from|import) ipaddress\b", path.read_text(), re.MULTILINE)
    ]
    assert readers == [READER]
