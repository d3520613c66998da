"""Alerts about gateways that refuse everyone, or everyone at a domain. Judged without I/O, as delivery judges them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, takewhile
from typing import Any

from shared.audit.incidents import AlertRule, Symptom
from shared.audit.severity import Severity
from shared.db.pool import Record

from ..delivery.recent_recipients import recent_in
from ..delivery.refusal_guard import refused_domains, refuses_everyone

REFUSAL_RULES = (AlertRule("gateway_refuses_everyone"), AlertRule("gateway_refuses_domain", Severity.WARNING))
_DOMAINS_NAMED = 10


@dataclass(frozen=True)
class Refusals:
    """What gateways refuse now: everyone since a time, or everyone at some domains."""

    everyone: Mapping[str, datetime]
    domains: Mapping[str, frozenset[str]]


NO_REFUSALS = Refusals({}, {})


def refusals_in(rows: Sequence[Mapping[str, Any] | Record]) -> Refusals:
    """What rows of GATEWAY_RECIPIENTS say. A gateway whose last answer was an acceptance is getting well."""
    everyone: dict[str, datetime] = {}
    domains: dict[str, frozenset[str]] = {}
    for gateway, group in groupby(rows, key=lambda row: str(row["gateway"])):
        of_gateway = list(group)
        recent = recent_in(of_gateway)
        in_a_row = list(takewhile(lambda row: bool(row["refused"]), of_gateway))
        if in_a_row and refuses_everyone(recent):
            everyone[gateway] = in_a_row[-1]["at"]
        elif refused := refused_domains(recent):
            domains[gateway] = refused
    return Refusals(everyone, domains)


def refusal_symptoms(refusals: Refusals) -> Iterator[Symptom]:
    if refusals.everyone:
        names = ", ".join(refusals.everyone)
        since = min(refusals.everyone.values()).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:00Z")
        yield Symptom(
            "gateway_refuses_everyone",
            f"find out why {names} refuses every recipient",
            f"{names}: nearly all of its last different recipients were refused, since {since} or before.\n"
            "Its mails wait and are not failed, no more addresses are suppressed, and its breaker is open.\n"
            'Look: curl "$MAIL_URL/v1/gateways" -H "Authorization: Bearer $OPERATOR_KEY"\n'
            "When it is repaired, undo what was believed before it was found out:\n"
            f"python -m services.mail suppressions delete --source smtp --after {since}\n"
            f"python -m services.mail mails retry --state failed --after {since}",
        )
    if refusals.domains:
        named = [
            f"{domain} ({gateway})" for gateway in refusals.domains for domain in sorted(refusals.domains[gateway])
        ]
        yield Symptom(
            "gateway_refuses_domain",
            f"find out why every recipient is refused at {', '.join(named[:_DOMAINS_NAMED])}",
            "Mails to these domains are tried later, until they expire. No more addresses there are suppressed.",
        )
