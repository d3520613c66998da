"""Mail providers as their webhooks call us: events in the shapes that they document, each call signed as they sign it.

The events were written anew from each provider's documentation. MAIL_ID and UNIQUE stand for what differs.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID, uuid4

NAMES = ("ses", "postmark", "mailgun", "sendgrid", "resend", "brevo")


@dataclass(frozen=True)
class Sample:
    """One kind of event. `expect` holds fields of the `Event` that it means; those that are absent are not compared."""

    name: str
    expect: dict[str, Any]
    template: str

    def event(self, mail_id: UUID | str, unique: str | None = None) -> dict[str, Any]:
        text = self.template.replace("MAIL_ID", str(mail_id)).replace("UNIQUE", unique or uuid4().hex)
        event: dict[str, Any] = json.loads(text)
        return event


@dataclass(frozen=True)
class Call:
    """What a provider posts."""

    headers: dict[str, str]
    body: bytes


class Provider(Protocol):
    """A stand-in for one provider."""

    name: str
    # Its entry in MAIL_PROVIDER_EVENTS.
    setting: str

    def call(self, events: list[dict[str, Any]], at: datetime) -> Call:
        """A call as the provider makes it. Those that send one event a call get a list of one."""
        ...

    def forged(self, call: Call) -> Call:
        """The call as a stranger would make it, who knows everything but the secret."""
        ...


@cache
def samples(provider: str) -> dict[str, Sample]:
    content = json.loads(Path(__file__).with_name(f"{provider}.json").read_text())
    return {name: Sample(name, case["expect"], json.dumps(case["event"])) for name, case in content.items()}


def sample_of(provider: str, kind: str) -> Sample:
    """The first sample of this kind; a failure that blames the address."""
    return next(
        sample
        for sample in samples(provider).values()
        if sample.expect["kind"] == kind and (kind != "failed" or sample.expect["suppresses"])
    )
