"""THE transaction: a person, every effect owed to them and the history of it, in one commit (P1).

It is one statement (`queries.SIGN_UP`) for any number of people: one round trip, and in autocommit one transaction
(DESIGN decision 6). `batcher` puts requests that come at once into one; with an idempotency key a request has its own.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from shared.contract.addresses import Address
from shared.contract.correlation import Correlation, current
from shared.db.pool import Connection, Pool, Record

from ..errors import AlreadyVerified, RequestIdReused, UserErased
from . import queries
from .effect_policy import EffectPolicy


@dataclass(frozen=True, slots=True)
class Details:
    """What somebody says about themselves, or a client about them. None: nothing, which changes nothing on record."""

    address: Address
    name: str
    locale: str | None = None
    metadata: Mapping[str, Any] | None = None

    def field_prints(self) -> dict[str, str]:
        """A hash for each field: enough to name what differs, without keeping what was said.

        What was left out counts as its default, so that a repetition may spell it out.
        """
        said = {
            "email": self.address.email,
            "name": self.name,
            "locale": self.locale or "en",
            "metadata": self.metadata or {},
        }
        return {name: _digest(value).hex()[:16] for name, value in said.items()}

    def fingerprint(self) -> bytes:
        """SHA-256 over the whole, whatever the order of its keys."""
        return _digest(self.field_prints())


@dataclass(frozen=True, slots=True)
class Caller:
    """Who commands. `client` is None for anyone without a key; `scope` is where their idempotency keys count."""

    client: str | None
    actor: str
    scope: str

    @property
    def keyed(self) -> bool:
        return self.client is not None


@dataclass(frozen=True, slots=True)
class SignedUp:
    """`user` is the row as it stands after the commit. An anonymous caller must be shown nothing of this."""

    user: Mapping[str, Any] | Record
    created: bool
    mail_owed: bool

    def for_caller(self, caller: Caller) -> "SignedUp":
        """Itself.

        Raises:
            AlreadyVerified: a caller with a key named a verified address; nothing was changed.
        """
        if caller.keyed and self.user["status"] == "verified":
            raise AlreadyVerified("This address belongs to a user who is verified already; nothing was changed.")
        return self


@dataclass(frozen=True, slots=True)
class SignupCommand:
    """One signup as it is asked for, with the correlation of who commands."""

    details: Details
    caller: Caller
    correlation: Correlation | None

    @property
    def email_key(self) -> str:
        return self.details.address.key


async def write(
    connection: "Pool | Connection", commands: Sequence[SignupCommand], policy: EffectPolicy
) -> dict[str, SignedUp]:
    """The people, the effects owed and the history of `commands`, by address key; all in one statement.

    Addresses must differ. Committed when this returns, unless the caller has a transaction open. A keyed caller who
    named a verified address is in the answer too: `SignedUp.for_caller` refuses that.
    """
    rows = await connection.fetch(
        queries.SIGN_UP,
        policy.cooldown_seconds,
        policy.link,
        policy.give_up_seconds,
        *zip(*(_columns(command) for command in commands), strict=True),
        *policy.owed,
    )
    return {row["email_key"]: SignedUp(row, row["created"], row["mail_owed"]) for row in rows}


def _columns(command: SignupCommand) -> tuple[object, ...]:
    details, caller, here = command.details, command.caller, command.correlation
    return (
        details.address.email,
        details.address.key,
        details.name,
        details.locale,
        None if details.metadata is None else orjson.dumps(details.metadata).decode(),
        caller.client or "web",
        caller.keyed,
        caller.actor,
        here.request_id if here else None,
        here.traceparent if here else None,
    )


async def sign_up_once(
    pool: Pool, key: str, details: Details, caller: Caller, policy: EffectPolicy
) -> tuple[SignedUp, bool]:
    """As `SignupBatcher.sign_up`, but once for all requests of `caller` with this idempotency key, kept in the same commit.

    The second value says that this is the answer of the first request, and that nothing was done now.

    Raises:
        AlreadyVerified: as `SignupBatcher.sign_up`; the key is not used up.
        RequestIdReused: the key was used with other details.
        UserErased: a caller with a key signed up somebody with it who is erased since.
    """
    fingerprint = details.fingerprint()
    async with pool.acquire() as connection, connection.transaction():
        taken = await connection.fetchval(queries.TAKE_IDEMPOTENCY_KEY_IF_FREE, caller.scope, key, fingerprint)
        if taken is None:
            first = await connection.fetchrow(queries.FIND_FIRST_ANSWER, caller.scope, key)
            assert first is not None
            return _replay(first, details, fingerprint, caller), True
        command = SignupCommand(details, caller, current())
        done = (await write(connection, [command], policy))[command.email_key].for_caller(caller)
        status = (201 if done.created else 200) if caller.keyed else 202
        kept = _kept(done, details)
        await connection.execute(queries.KEEP_FIRST_ANSWER, caller.scope, key, status, kept, done.user["id"])
        return done, False


def as_user(row: Mapping[str, Any] | sa.RowMapping | Record) -> dict[str, Any]:
    """A row of users as the API shows it."""
    user = {
        name: row[name]
        for name in ("id", "email", "name", "locale", "status", "source", "external_id", "metadata", "created_at")
    }
    if isinstance(user["metadata"], str):  # asyncpg hands JSON over as text, SQLAlchemy as objects
        user["metadata"] = orjson.loads(user["metadata"])
    user["verified_at"] = row["verified_at"]
    return user


def _kept(done: SignedUp, details: Details) -> str:
    answer = {
        "user": as_user(done.user),
        "created": done.created,
        "mail_owed": done.mail_owed,
        "fields": details.field_prints(),
    }
    return orjson.dumps(answer, default=str, option=orjson.OPT_UTC_Z).decode()


def _replay(first: Record, details: Details, fingerprint: bytes, caller: Caller) -> SignedUp:
    if first["answer"] is None:  # erasure took it; the key stays used up, or a late repetition would sign up anew
        if first["fingerprint"] != fingerprint:
            raise RequestIdReused("This Idempotency-Key was used before with another body.")
        if caller.keyed:
            raise UserErased("The user that was signed up with this Idempotency-Key has been erased.")
        return SignedUp({}, created=False, mail_owed=False)
    answer = orjson.loads(first["answer"])
    if first["fingerprint"] != fingerprint:
        differing = [name for name, print_ in details.field_prints().items() if answer["fields"].get(name) != print_]
        raise RequestIdReused(
            f"This Idempotency-Key was used before with another body; different: {', '.join(differing)}.",
            errors=[{"pointer": f"/{name}", "detail": "Differs from the first request"} for name in differing],
        )
    return SignedUp(answer["user"], answer["created"], answer["mail_owed"])


def _digest(value: Any) -> bytes:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).digest()
