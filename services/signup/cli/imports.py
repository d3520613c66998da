"""`python -m services.signup imports …`: operator actions on imports of every client, directly on the database.

For a database restored to an earlier time (docs/restoring.md), before any process works on it.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from shared.contract.addresses import address_key
from shared.contract.ids import UUID
from shared.contract.problems import NotFound
from shared.db.pool import Pool

from ..imports import listing
from ..imports.exclude_rows import list_open, skip
from ..imports.operator_actions import ImportAction, apply_action
from ..imports.states import State


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    imports = commands.add_parser(
        "imports", help="pause imports after a restore, and exclude addresses from them"
    ).add_subparsers(dest="action", required=True)
    imports.add_parser("list", help="list unfinished imports of every client, oldest first, one JSON object per line")
    imports.add_parser("pause", help="pause every running import and print each")
    skipping = imports.add_parser("skip", help="exclude addresses from a paused import: standard input, one per line")
    skipping.add_argument("id", type=UUID)
    imports.add_parser("resume", help="resume a paused import").add_argument("id", type=UUID)


async def carry_out(
    arguments: argparse.Namespace, pool: Pool, *, actor: str, give_up_seconds: float, addresses: TextIO
) -> Sequence[dict[str, Any]]:
    """Run a command and return the rows to print. Every change is committed, with `actor` in the history.

    Raises:
        NotFound: there is no unfinished import with this ID.
        WrongState: its state does not allow this.
    """
    found = await list_open(pool)
    match arguments.action:
        case "list":
            return [dict(row) for row in found]
        case "skip":
            keys = frozenset(_keys(addresses))
            return [{"id": arguments.id, "skipped": await skip(pool, arguments.id, keys, actor=actor)}]
        case "pause":
            event, targets = "pause", [row for row in found if row["state"] == State.RUNNING]
        case _:
            event, targets = "resume", [row for row in found if row["id"] == arguments.id]
            if not targets:
                raise NotFound("There is no unfinished import with this ID.")
    actions = [ImportAction(row["id"], row["client"], actor, event) for row in targets]
    return [listing.as_import(await apply_action(pool, action, give_up_seconds)) for action in actions]


def _keys(addresses: TextIO) -> Iterator[str]:
    for number, address in enumerate(addresses, 1):
        try:
            yield address_key(address.strip())
        except ValueError:
            # No import row can match it. The warning exposes a wrong file; it does not repeat the text.
            print(f"line {number} is not an e-mail address", file=sys.stderr)
