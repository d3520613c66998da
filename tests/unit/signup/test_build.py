"""What `/version` says is what is packaged."""

import tomllib

from shared.http.operations_routes import VERSION
from tests.support.databases import ROOT


def test_the_version_answered_is_the_version_packaged() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
