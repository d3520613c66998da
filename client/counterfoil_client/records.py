"""What the services answer, as frozen dataclasses. Fields that this version does not know are ignored.

States are plain text, because a later service may have more of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from .errors import ApiError, UnreadableAnswer, api_error
from .problems import Problem

Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """The last outcome that was no acceptance, with the gateway's reply."""

    reason: str
    code: int | None
    enhanced_code: str | None
    reply: str | None


@dataclass(frozen=True, slots=True)
class MailRecord:
    """A mail as the mail service's ledger has it."""

    id: UUID
    request_id: str
    client: str
    state: str
    to_email: str | None  # None once it is wiped
    to_name: str | None
    sender: str | None
    subject: str | None
    template: str | None
    template_version: str | None
    locale: str | None
    tags: tuple[str, ...]
    metadata: Json
    on_uncertain: str
    lane: str
    attempts: int
    gateway: str | None
    message_id: str
    accepted_at: datetime
    send_at: datetime | None
    sent_at: datetime | None
    next_attempt_at: datetime | None
    expires_at: datetime
    failure: Failure | None
    restored: bool
    fingerprint: str
    # The request ID was used before: this is the mail of the first request, as it stands now. Only answers to `send`.
    replayed: bool = False

    @property
    def is_sent(self) -> bool:
        """A gateway took responsibility for it (250). It may have bounced since: see `state`."""
        return self.sent_at is not None

    @property
    def is_settled(self) -> bool:
        """It will not be sent any more, or only after an operator decides."""
        is_held = self.state == "uncertain" and self.on_uncertain == "hold"
        return is_held or self.state in {"sent", "bounced", "failed", "canceled", "expired", "suppressed"}


@dataclass(frozen=True, slots=True)
class LostRecord:
    """What is kept of a mail whose row was deleted. One that has `sent_at` was sent."""

    request_id: str
    mail_id: UUID
    state: str
    sent_at: datetime | None
    lost_at: datetime


@dataclass(frozen=True, slots=True)
class LookUp:
    """By request ID. `missing` were never asked for, or are in `lost` as well."""

    found: Mapping[str, MailRecord]
    missing: tuple[str, ...]
    lost: Mapping[str, LostRecord] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BatchResult:
    """`outcome` is `accepted`, `replayed` or `rejected`; a rejected one has an `error` and no `mail`."""

    request_id: str
    outcome: str
    mail: MailRecord | None = None
    error: ApiError | None = None

    def unwrap(self) -> MailRecord:
        """The mail. Raises the error of a rejected one."""
        if self.mail is None:
            raise self.error or UnreadableAnswer("The result has neither a mail nor a problem")
        return self.mail


@dataclass(frozen=True, slots=True)
class Change:
    """A state change of a mail. `cursor` is what to store once this change is handled: follow goes on from there."""

    id: UUID
    at: datetime
    kind: str
    mail_id: UUID
    request_id: str
    client: str
    state: str
    message_id: str
    sent_at: datetime | None
    template: str | None
    correlation_id: str | None
    detail: Json
    cursor: str | None


@dataclass(frozen=True, slots=True)
class User:
    id: UUID
    email: str | None
    name: str | None
    locale: str
    status: str
    source: str
    external_id: str | None
    metadata: Json
    created_at: datetime
    verified_at: datetime | None


@dataclass(frozen=True, slots=True)
class SignedUp:
    """`user` is None for callers without a key: they get the same answer for every address."""

    user: User | None
    created: bool
    replayed: bool


def read_mail(members: Json, *, replayed: bool = False) -> MailRecord:
    to, failure = members["to"], members.get("failure")
    return MailRecord(
        id=UUID(members["id"]),
        request_id=members["request_id"],
        client=members["client"],
        state=members["state"],
        to_email=to["email"],
        to_name=to["name"],
        sender=members["from"],
        subject=members["subject"],
        template=members["template"],
        template_version=members["template_version"],
        locale=members["locale"],
        tags=tuple(members["tags"]),
        metadata=members["metadata"],
        on_uncertain=members["on_uncertain"],
        lane=members["lane"],
        attempts=members["attempts"],
        gateway=members["gateway"],
        message_id=members["message_id"],
        accepted_at=datetime.fromisoformat(members["accepted_at"]),
        send_at=_time(members["send_at"]),
        sent_at=_time(members["sent_at"]),
        next_attempt_at=_time(members["next_attempt_at"]),
        expires_at=datetime.fromisoformat(members["expires_at"]),
        failure=failure and Failure(**{name: failure.get(name) for name in Failure.__dataclass_fields__}),
        restored=members.get("restored", False),
        fingerprint=members.get("fingerprint", ""),
        replayed=replayed,
    )


def read_lost(members: Json) -> LostRecord:
    return LostRecord(
        members["request_id"],
        UUID(members["mail_id"]),
        members["state"],
        _time(members["sent_at"]),
        datetime.fromisoformat(members["lost_at"]),
    )


def read_look_up(members: Json) -> LookUp:
    return LookUp(
        {key: read_mail(mail) for key, mail in members["found"].items()},
        tuple(members["missing"]),
        {key: read_lost(lost) for key, lost in members.get("lost", {}).items()},
    )


def read_result(members: Json, request_id: str) -> BatchResult:
    outcome, mail, problem = members["outcome"], members.get("mail"), members.get("problem")
    return BatchResult(
        request_id,
        outcome,
        mail and read_mail(mail, replayed=outcome == "replayed"),
        problem and api_error(Problem.of_members(problem, status=0)),
    )


def read_change(members: Json, cursor: str | None) -> Change:
    return Change(
        id=UUID(members["id"]),
        at=datetime.fromisoformat(members["at"]),
        mail_id=UUID(members["mail_id"]),
        sent_at=_time(members["sent_at"]),
        cursor=cursor,
        **{name: members[name] for name in ("kind", "request_id", "client", "state", "message_id", "template")},
        correlation_id=members["correlation_id"],
        detail=members["detail"],
    )


def read_user(members: Json) -> User:
    return User(
        id=UUID(members["id"]),
        created_at=datetime.fromisoformat(members["created_at"]),
        verified_at=_time(members["verified_at"]),
        **{name: members[name] for name in ("email", "name", "locale", "status", "source", "external_id", "metadata")},
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
