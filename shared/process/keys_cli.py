"""`python -m services.<service> keys create|register|list|revoke`, the same in both services."""

import argparse
import getpass
import sys
from collections.abc import Sequence

import asyncpg

from ..db import api_keys

# For rotation a client has an old and a new key; more than that are forgotten ones.
_LIVE_KEYS_FOR_ROTATION = 2


def add_parser(subcommands: "argparse._SubParsersAction[argparse.ArgumentParser]", scopes: Sequence[str]) -> None:
    parser = subcommands.add_parser("keys", help="mint, list and revoke API keys")
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in (
        ("create", "mint a key and print it, once, on the last line"),
        ("register", "accept the key on standard input, minted elsewhere, here too"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("--client", required=True, help="who the key is for")
        action.add_argument(
            "--scope",
            action="append",
            required=True,
            dest="scopes",
            choices=list(scopes),
            help="may be repeated",
        )
        action.add_argument("--expires-days", type=_positive, help="days until it ends; never unless said")
    actions.add_parser("list", help="every key, without its secret")
    actions.add_parser("revoke", help="end a key at once").add_argument("key_id")


def _positive(text: str) -> int:
    days = int(text)
    if days < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return days


async def run(arguments: argparse.Namespace, database_url: str) -> int:
    """Carry out a parsed `keys` command. Returns the exit status."""
    connection = await asyncpg.connect(database_url)
    try:
        return await _act(arguments, connection, actor=f"cli:{getpass.getuser()}")
    finally:
        await connection.close()


async def _act(arguments: argparse.Namespace, connection: "asyncpg.Connection[asyncpg.Record]", actor: str) -> int:
    match arguments.action:
        case "create":
            key = api_keys.mint()
            await api_keys.store(
                connection, key, client=arguments.client, scopes=arguments.scopes, days=arguments.expires_days,
                actor=actor,
            )  # fmt: skip
            live = await connection.fetchval(api_keys.COUNT_LIVE_KEYS, arguments.client)
            if live > _LIVE_KEYS_FOR_ROTATION:
                print(f"{arguments.client} now has {live} live keys; revoke the old ones", file=sys.stderr)
            print(key.text)
        case "register":
            given = api_keys.parse(sys.stdin.readline().strip())
            if given is None:
                print("standard input holds no valid key", file=sys.stderr)
                return 1
            await api_keys.store(
                connection, given, client=arguments.client, scopes=arguments.scopes, days=arguments.expires_days,
                actor=actor,
            )  # fmt: skip
        case "list":
            for row in await connection.fetch(api_keys.LIST_KEYS):
                state = "revoked" if row["revoked_at"] else "live"
                print(
                    row["id"],
                    row["client"],
                    state,
                    ",".join(row["scopes"]),
                    row["expires_at"] or "-",
                    sep="\t",
                )
        case "revoke":
            if await connection.fetchval(api_keys.REVOKE_LIVE_KEY, arguments.key_id, actor) is None:
                print("there is no live key with this ID", file=sys.stderr)
                return 1
    return 0
