"""Short-lived commands that a start needs: migrations and API keys, each a Python process of its own.

The launcher imports neither Alembic nor the services: it stays small, and they run beside each other.
"""

import asyncio
import sys
from collections.abc import Coroutine, Mapping
from pathlib import Path

from .process import dies_with_parent
from .settings import LocalError


async def run_python(*arguments: str, folder: Path, environment: Mapping[str, str], stdin: str = "") -> str:
    """What `python -m …` printed. Raises LocalError with everything it said when it failed."""
    child = await asyncio.create_subprocess_exec(
        *(*dies_with_parent("KILL"), sys.executable, "-m", *arguments),
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches the launcher, which ends this one
    )
    try:
        output, errors = await child.communicate(stdin.encode())
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        said = (output + errors).decode(errors="replace").strip()
        raise LocalError(f"python -m {' '.join(arguments)} failed:\n{said}")
    return output.decode()


async def together(*jobs: Coroutine[object, object, object]) -> None:
    """All at once; the first failure ends the others and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def migrate(folder: Path, environment: Mapping[str, str]) -> None:
    """Both databases, named by *_DATABASE_URL of the environment, to the newest schema."""
    upgrades = (
        ("alembic", "-c", "migrations/alembic.ini", "-n", name, "upgrade", "head") for name in ("signup", "mail")
    )
    await together(*(run_python(*upgrade, folder=folder, environment=environment) for upgrade in upgrades))


async def create_key(service: str, client: str, scopes: str, folder: Path, environment: Mapping[str, str]) -> str:
    """A new key, known to `service`."""
    output = await run_python(
        *(f"services.{service}", "keys", "create", "--client", client, *_scope_options(scopes)),
        folder=folder,
        environment=environment,
    )
    return output.strip().splitlines()[-1].strip()


async def register_key(
    service: str, client: str, scopes: str, key: str, *, folder: Path, environment: Mapping[str, str]
) -> None:
    """Makes an existing key known to `service`; again and again if need be."""
    await run_python(
        *(f"services.{service}", "keys", "register", "--client", client, *_scope_options(scopes)),
        folder=folder,
        environment=environment,
        stdin=key + "\n",
    )


def _scope_options(scopes: str) -> list[str]:
    return [option for scope in scopes.split() for option in ("--scope", scope)]
