"""The product, a browser, and where the pictures go."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import ROOT
from tests.support.running import ledgers, running_stack

from .chromium import BrowserError, Chromium, find

__all__ = ["ledgers", "browser", "running_stack", "screenshots"]


@pytest.fixture(scope="session", autouse=True)
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """The run ends here, and has failed, when there is no Chromium."""
    try:
        executable = find()
    except BrowserError as error:
        pytest.exit(str(error), returncode=1)
    with Chromium(executable, tmp_path_factory.mktemp("chromium")) as chromium:
        yield chromium


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """SCREENSHOTS, or a folder that git ignores: a look at the pages is no change to the documents."""
    folder = ROOT / os.environ.get("SCREENSHOTS", "var/pages")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
