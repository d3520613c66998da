"""`python -m services.signup imports …`: what operators do to imports, whichever client's, on the database itself.

For a ledger that was restored to an earlier time (docs/restoring.md), before any process works on it.
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
from ..imports.operator_actions import ImportAction, intervene
from ..imports.states import State


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    imports = commands.add_parser(
        "imports", help="hold imports after a restore, and take people out of them"
    ).add_subparsers(dest="action", required=True)
    imports.add_parser("list", help="those not at their end, of every client, oldest first; one JSON object a line")
    imports.add_parser("pause", help="every running one; says which")
    skipping = imports.add_parser("skip", help="take the addresses on standard input, one a line, out of a paused one")
    skipping.add_argument("id", type=UUID)
    imports.add_parser("resume", help="let a paused one go on").add_argument("id", type=UUID)


async def carry_out(
    arguments: argparse.Namespace, pool: Pool, *, actor: str, give_up_seconds: float, addresses: TextIO
) -> Sequence[dict[str, Any]]:
    """What to print. Every change is committed, in history as `actor`.

    Raises:
        NotFound: there is no such import that is not at its end.
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
            event, meant = "pause", [row for row in found if row["state"] == State.RUNNING]
        case _:
            event, meant = "resume", [row for row in found if row["id"] == arguments.id]
            if not meant:
                raise NotFound("There is no such import that is not at its end.")
    actions = [ImportAction(row["id"], row["client"], actor, event) for row in meant]
    return [listing.as_import(await intervene(pool, action, give_up_seconds)) for action in actions]


def _keys(addresses: TextIO) -> Iterator[str]:
    for number, address in enumerate(addresses, 1):
        try:
            yield address_key(address.strip())
        except ValueError:
            # An import has no line for it. A file in which nothing is an address should be noticed.
            print(f"line {number} is no address", file=sys.stderr)
