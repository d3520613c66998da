"""Types that openapi-typescript makes from both documents, used with openapi-fetch: tsc accepts a story, node runs it.

Not named test_*: `make test` must not collect it, because it needs npm.
"""

import hashlib
import shutil
from pathlib import Path

import pytest

from tests.support.stack import Ledgers

from .programs import run

HERE = Path(__file__).parent / "typescript"


pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="session")
def project(kept: Path, documents: dict[str, Path]) -> Path:
    """The story beside the types of both documents, with its packages installed."""
    packages = HERE / "package.json"
    folder = kept / f"typescript-{hashlib.sha256(packages.read_bytes()).hexdigest()[:12]}"
    folder.mkdir(exist_ok=True)
    for file in HERE.iterdir():
        shutil.copy(file, folder)
    if not (folder / "installed").exists():
        run("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", cwd=folder)
        (folder / "installed").touch()
    for service, document in documents.items():
        run("node_modules/.bin/openapi-typescript", document, "--output", f"{service}.d.ts", cwd=folder)
    return folder


async def test_the_story_is_accepted_by_tsc_and_runs(
    ledgers: Ledgers, addresses: dict[str, str], project: Path
) -> None:
    run("node_modules/.bin/tsc", "--project", ".", cwd=project)
    run("node", "story.js", cwd=project, **addresses)
    assert len(await ledgers.caught("ts@example.org")) >= 1
