"""The code of an earlier commit, from git's history."""

import io
import re
import subprocess
import tarfile
from pathlib import Path

from tests.support.databases import ROOT


class NoHistoryError(Exception):
    """This checkout does not have the commit."""


def version_commit(version: str) -> str:
    """The commit of a released version, from the table in docs/upgrading.md."""
    page = (ROOT / "docs" / "upgrading.md").read_text(encoding="utf-8")
    found = re.search(rf"^\| {re.escape(version)} \| ([0-9a-f]{{7,40}}) \|", page, re.MULTILINE)
    assert found, f"docs/upgrading.md has no commit for {version}"
    return found[1]


def check_out(commit: str, folder: Path) -> Path:
    """Write the tree of `commit` into `folder`. Raises NoHistoryError without git, or in a shallow clone."""
    archive = _git("archive", "--format=tar", commit)
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def commit_before(path: Path) -> str:
    """The commit before the one that added `path`; the present one when that is not committed yet."""
    added = _git("log", "--format=%H", "--diff-filter=A", "--", str(path.relative_to(ROOT))).decode().split()
    try:
        return _git("rev-parse", "--verify", f"{added[-1]}^" if added else "HEAD").decode().strip()
    except NoHistoryError:
        if _git("rev-parse", "--is-shallow-repository").strip() == b"true":
            raise NoHistoryError("this clone is shallow; `git fetch --unshallow` gets the history") from None
        raise


def _git(*arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    except FileNotFoundError:
        raise NoHistoryError("git is not installed") from None
    if done.returncode:
        raise NoHistoryError(f"git {' '.join(arguments)}: {done.stderr.decode().strip()}")
    return done.stdout
