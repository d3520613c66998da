"""Fixtures: the product, a browser, and the folder for screenshots."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import ROOT
from tests.support.running import ledgers, running_stack

from .chromium import BrowserError, Chromium, find

__all__ = ["browser", "ledgers", "running_stack", "screenshots"]


@pytest.fixture(scope="session", autouse=True)
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """Fail the run when Chromium is not installed."""
    try:
        executable = find()
    except BrowserError as error:
        pytest.exit(str(error), returncode=1)
    with Chromium(executable, tmp_path_factory.mktemp("chromium")) as chromium:
        yield chromium


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """SCREENSHOTS, or a folder that git ignores, so that a test run changes no document."""
    folder = ROOT / os.environ.get("SCREENSHOTS", "var/pages")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
