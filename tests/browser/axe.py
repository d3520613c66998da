"""axe-core, the accessibility rules of Deque, from npm: AXE names its `axe.min.js`, or `npm pack` fetches it once.

It is not part of the repository: half a megabyte that only these tests use. Its content is checked.
"""

import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from tests.support.databases import ROOT

from .page import Page

VERSION = "4.14.1"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
KEPT = ROOT / "var" / f"axe-core-{VERSION}.js"
# WCAG 2.2 to AA, and what axe calls best practices.
_RUN = """
axe.run(document, {resultTypes: ['violations'], reporter: 'v2'}).then(found => found.violations.map(
  rule => [rule.id, rule.nodes.map(node => node.target.join(' ') + ': ' + node.failureSummary)]
))
"""


class AxeError(Exception):
    """axe-core is not there, or is another version."""


def load(directory: Path) -> str:
    """The script. Raises AxeError."""
    wanted = os.environ.get("AXE")
    file = Path(wanted) if wanted else KEPT
    if not file.exists() and not wanted:
        _fetch(directory)
    try:
        script = file.read_bytes()
    except OSError as error:
        raise AxeError(f"no axe-core: {error}") from error
    if hashlib.sha256(script).hexdigest() != SHA256:
        raise AxeError(f"{file} is not axe.min.js of axe-core {VERSION}")
    return script.decode()


def _fetch(directory: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise AxeError("no npm: install it, or set AXE to axe.min.js of the npm package axe-core")
    done = subprocess.run([npm, "pack", f"axe-core@{VERSION}"], cwd=directory, capture_output=True, check=False)
    if done.returncode:
        raise AxeError(f"npm pack failed: {done.stderr.decode()[-500:]}")
    with tarfile.open(directory / f"axe-core-{VERSION}.tgz") as package:
        member = package.extractfile("package/axe.min.js")
        assert member is not None
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_bytes(member.read())


def violations(page: Page, script: str) -> list[Any]:
    """What axe's rules find wrong in the page as it is shown now."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(script + ";undefined")
    found: list[Any] = page.evaluate(_RUN)
    return found
