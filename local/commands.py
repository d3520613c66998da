"""Short-lived commands of a start: migrations and API keys, each in its own Python process.

The launcher imports neither Alembic nor the services. So it stays small, and the commands run concurrently.
"""

import asyncio
import sys
from collections.abc import Coroutine, Mapping
from pathlib import Path

from .process import dies_with_parent
from .settings import LocalError


async def run_python(*arguments: str, folder: Path, environment: Mapping[str, str], stdin: str = "") -> str:
    """Returns what `python -m …` printed. Raises LocalError with the whole output when it failed."""
    child = await asyncio.create_subprocess_exec(
        *(*dies_with_parent("KILL"), sys.executable, "-m", *arguments),
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C must reach only the launcher, which ends the child
    )
    try:
        output, errors = await child.communicate(stdin.encode())
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        printed = (output + errors).decode(errors="replace").strip()
        raise LocalError(f"python -m {' '.join(arguments)} failed:\n{printed}")
    return output.decode()


async def together(*jobs: Coroutine[object, object, object]) -> None:
    """Run all concurrently. The first failure cancels the others and is raised itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def migrate(folder: Path, environment: Mapping[str, str]) -> None:
    """Upgrade both databases, named by *_DATABASE_URL in `environment`, to the newest schema."""
    upgrades = (
        ("alembic", "-c", "migrations/alembic.ini", "-n", name, "upgrade", "head") for name in ("signup", "mail")
    )
    await together(*(run_python(*upgrade, folder=folder, environment=environment) for upgrade in upgrades))


async def create_key(service: str, client: str, scopes: str, folder: Path, environment: Mapping[str, str]) -> str:
    """Create a key that `service` knows, and return it."""
    output = await run_python(
        *(f"services.{service}", "keys", "create", "--client", client, *_scope_options(scopes)),
        folder=folder,
        environment=environment,
    )
    return output.strip().splitlines()[-1].strip()


async def register_key(
    service: str, client: str, scopes: str, key: str, *, folder: Path, environment: Mapping[str, str]
) -> None:
    """Make an existing key known to `service`. Idempotent."""
    await run_python(
        *(f"services.{service}", "keys", "register", "--client", client, *_scope_options(scopes)),
        folder=folder,
        environment=environment,
        stdin=key + "\n",
    )


def _scope_options(scopes: str) -> list[str]:
    return [option for scope in scopes.split() for option in ("--scope", scope)]
