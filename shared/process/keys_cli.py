"""`python -m services.<service> keys create|register|list|revoke`, the same in both services."""

import argparse
import getpass
import sys
from collections.abc import Sequence

import asyncpg

from ..db import api_keys

# Rotation needs an old and a new key; more are forgotten ones.
_LIVE_KEYS_FOR_ROTATION = 2


def add_parser(subcommands: "argparse._SubParsersAction[argparse.ArgumentParser]", scopes: Sequence[str]) -> None:
    parser = subcommands.add_parser("keys", help="mint, list and revoke API keys")
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in (
        ("create", "mint a key and print it once, on the last line"),
        ("register", "store a key that was minted elsewhere, read from standard input"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("--client", required=True, help="name of the client that the key is for")
        action.add_argument(
            "--scope", action="append", required=True, dest="scopes", choices=list(scopes), help="may be repeated"
        )
        action.add_argument("--expires-days", type=_positive, help="days until the key expires (default: never)")
    actions.add_parser("list", help="list every key, without its secret")
    actions.add_parser("revoke", help="revoke a key immediately").add_argument("key_id")


def _positive(text: str) -> int:
    days = int(text)
    if days < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return days


async def run(arguments: argparse.Namespace, database_url: str) -> int:
    """Run a parsed `keys` command. Returns the exit status."""
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
            parsed = api_keys.parse(sys.stdin.readline().strip())
            if parsed is None:
                print("standard input must hold a valid key: cf_<keyid>_<secret><crc>", file=sys.stderr)
                return 1
            await api_keys.store(
                connection, parsed, client=arguments.client, scopes=arguments.scopes, days=arguments.expires_days,
                actor=actor,
            )  # fmt: skip
        case "list":
            for row in await connection.fetch(api_keys.LIST_KEYS):
                state = "revoked" if row["revoked_at"] else "live"
                print(row["id"], row["client"], state, ",".join(row["scopes"]), row["expires_at"] or "-", sep="\t")
        case "revoke":
            if await connection.fetchval(api_keys.REVOKE_LIVE_KEY, arguments.key_id, actor) is None:
                print(f"no live key has the ID {arguments.key_id}", file=sys.stderr)
                return 1
    return 0
