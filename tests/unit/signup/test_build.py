"""`/version` reports the packaged version."""

import tomllib

from shared.http.operations_routes import VERSION
from tests.support.databases import ROOT


def test_version_is_the_packaged_version() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
