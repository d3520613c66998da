"""A folder of templates, as an operator has one."""

from pathlib import Path

import pytest

from .own_folder import Write


@pytest.fixture
def own(tmp_path: Path) -> Write:
    def write(files: dict[str, str]) -> Path:
        for place, content in files.items():
            file = tmp_path / "own" / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, "utf-8")
        return tmp_path / "own"

    return write
