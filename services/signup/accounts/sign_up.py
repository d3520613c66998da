"""The signup transaction: a user, every effect owed to them and the history entry, in one commit (P1).

It is one statement (`queries.SIGN_UP`) for any number of users: one round trip, and in autocommit one transaction
(DESIGN decision 6). `signup_batcher` merges concurrent requests; one with an idempotency key has its own transaction.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from shared.contract.addresses import Address
from shared.contract.correlation import Correlation, current
from shared.db.pool import Connection, Pool, Record

from ..errors import AlreadyVerified, ChallengeRequired, RequestIdReused, UserErased
from . import queries
from .effect_policy import EffectPolicy
from .used_challenges import NOT_NEEDED, Proof

if TYPE_CHECKING:
    import sqlalchemy as sa


@dataclass(frozen=True, slots=True)
class Details:
    """The fields of a signup request.

    None means not given: with a key it leaves the stored value, without one it is the default (ADR 0020).
    """

    address: Address
    name: str
    locale: str | None = None
    metadata: Mapping[str, Any] | None = None
    # A page of the product, for the button after the address is verified.
    return_to: str | None = None

    def field_prints(self) -> dict[str, str]:
        """A hash of each field: enough to name the fields that differ without storing their values.

        A missing field counts as its default, so that a repetition may spell it out.
        """
        values = {
            "email": self.address.email,
            "name": self.name,
            "locale": self.locale or "en",
            "metadata": self.metadata or {},
        }
        if self.return_to is not None:
            values["return_to"] = self.return_to
        return {name: _digest(value).hex()[:16] for name, value in values.items()}

    def fingerprint(self) -> bytes:
        """SHA-256 over all fields, independent of key order."""
        return _digest(self.field_prints())


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent the request. `client` is None without a key; `scope` separates idempotency keys of different callers."""

    client: str | None
    actor: str
    scope: str

    @property
    def keyed(self) -> bool:
        return self.client is not None


@dataclass(frozen=True, slots=True)
class SignedUp:
    """`user` is the row after the commit. Show none of this to an anonymous caller."""

    user: Mapping[str, Any] | Record
    created: bool
    mail_owed: bool

    def for_caller(self, caller: Caller) -> "SignedUp":
        """This result, unchanged.

        Raises:
            AlreadyVerified: a caller with a key named a verified address; nothing was changed.
        """
        if caller.keyed and self.user["status"] == "verified":
            raise AlreadyVerified("This address belongs to a user who is already verified. Nothing was changed.")
        return self


@dataclass(frozen=True, slots=True)
class SignupCommand:
    """One signup request with its caller and correlation."""

    details: Details
    caller: Caller
    correlation: Correlation | None
    # The solved challenge that this signup uses up.
    challenge_id: bytes | None = None

    @property
    def email_key(self) -> str:
        return self.details.address.key


async def write(
    connection: "Pool | Connection", commands: Sequence[SignupCommand], policy: EffectPolicy
) -> dict[str, SignedUp]:
    """Write the users, the effects owed and the history of `commands` in one statement. Results are by address key.

    Addresses must differ, and so must challenges. Committed on return, unless the caller has a transaction open. The
    results include keyed callers who named a verified address: `SignedUp.for_caller` refuses those. They lack the
    commands whose challenge was used before: `result_of` refuses those.
    """
    challenges = [command.challenge_id for command in commands]
    rows = await connection.fetch(
        queries.SIGN_UP if all(each is None for each in challenges) else queries.SIGN_UP_IF_CHALLENGES_ARE_UNUSED,
        policy.cooldown_seconds,
        policy.pinned,
        policy.give_up_seconds,
        *zip(*(_columns(command) for command in commands), strict=True),
        *policy.owed,
        policy.mails_per_address_per_day,
        policy.mails_per_hour,
        [command.details.return_to for command in commands],
        challenges,
    )
    return {row["email_key"]: SignedUp(row, row["created"], row["mail_owed"]) for row in rows}


def result_of(command: SignupCommand, done: Mapping[str, SignedUp]) -> SignedUp:
    """The result of one of the commands that were written. Raises ChallengeRequired: its challenge was used before."""
    result = done.get(command.email_key)
    if result is None:
        raise ChallengeRequired
    return result


def _columns(command: SignupCommand) -> tuple[object, ...]:
    details, caller, correlation = command.details, command.caller, command.correlation
    return (
        details.address.email,
        details.address.key,
        details.name,
        details.locale,
        None if details.metadata is None else orjson.dumps(details.metadata).decode(),
        caller.client or "web",
        caller.keyed,
        caller.actor,
        correlation.request_id if correlation else None,
        correlation.traceparent if correlation else None,
    )


async def sign_up_once(
    pool: Pool, key: str, details: Details, caller: Caller, policy: EffectPolicy, proof: Proof = NOT_NEEDED
) -> tuple[SignedUp, bool]:
    """Like `SignupBatcher.sign_up`, but once per idempotency key of `caller`. The same commit stores key and answer.

    The second value is True when this is the stored answer of the first request and nothing was done now. A repetition
    needs no challenge.

    Raises:
        AlreadyVerified, ChallengeRequired: as in `SignupBatcher.sign_up`; the key stays unused.
        RequestIdReused: the key was used with other details.
        UserErased: a caller with a key used it for a user who has been erased since.
    """
    fingerprint = details.fingerprint()
    async with pool.acquire() as connection, connection.transaction():
        # Only a repetition gets past this without a proof; a flood of others is refused before it writes anything.
        if proof.missing and await connection.fetchrow(queries.FIND_STORED_ANSWER, caller.scope, key) is None:
            raise ChallengeRequired
        taken = await connection.fetchval(queries.TAKE_IDEMPOTENCY_KEY_IF_FREE, caller.scope, key, fingerprint)
        if taken is None:
            first = await connection.fetchrow(queries.FIND_STORED_ANSWER, caller.scope, key)
            assert first is not None
            return _replay(first, details, fingerprint, caller), True
        command = SignupCommand(details, caller, current(), proof.to_use())
        done = result_of(command, await write(connection, [command], policy)).for_caller(caller)
        status = (201 if done.created else 200) if caller.keyed else 202
        answer = _stored_answer(done, details)
        await connection.execute(queries.STORE_ANSWER, caller.scope, key, status, answer, done.user["id"])
        return done, False


def as_user(row: "Mapping[str, Any] | sa.RowMapping | Record") -> dict[str, Any]:
    """A users row in the API's format."""
    user = {
        name: row[name]
        for name in ("id", "email", "name", "locale", "status", "source", "external_id", "metadata", "created_at")
    }
    if isinstance(user["metadata"], str):  # asyncpg returns JSON as text, SQLAlchemy as objects
        user["metadata"] = orjson.loads(user["metadata"])
    user["verified_at"] = row["verified_at"]
    return user


def _stored_answer(done: SignedUp, details: Details) -> str:
    answer = {
        "user": as_user(done.user),
        "created": done.created,
        "mail_owed": done.mail_owed,
        "fields": details.field_prints(),
    }
    return orjson.dumps(answer, default=str, option=orjson.OPT_UTC_Z).decode()


def _replay(first: Record, details: Details, fingerprint: bytes, caller: Caller) -> SignedUp:
    if first["answer"] is None:  # erased; the key stays used, or a late repetition would sign up again
        if first["fingerprint"] != fingerprint:
            raise RequestIdReused("This Idempotency-Key was used before with another body.")
        if caller.keyed:
            raise UserErased("The user that was signed up with this Idempotency-Key has been erased.")
        return SignedUp({}, created=False, mail_owed=False)
    answer = orjson.loads(first["answer"])
    if first["fingerprint"] != fingerprint:
        prints = details.field_prints()
        differing = [name for name in {**answer["fields"], **prints} if answer["fields"].get(name) != prints.get(name)]
        raise RequestIdReused(
            f"This Idempotency-Key was used before with another body. Fields that differ: {', '.join(differing)}.",
            errors=[{"pointer": f"/{name}", "detail": "Differs from the first request"} for name in differing],
        )
    return SignedUp(answer["user"], answer["created"], answer["mail_owed"])


def _digest(value: Any) -> bytes:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).digest()
