"""Judges whether a refusal is about its recipient, or whether the gateway refuses everyone. Pure: no I/O, no clock.

A gateway that has lost its list of recipients answers 550 5.1.1 to all of them. Believed, that would fail every mail
and suppress every address. So each refusal is judged against what the same gateway answered to its other recent
recipients. ADR 0024 has the reasons for the numbers.
"""

import enum
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .smtp_outcomes import Outcome, Verdict

# A gateway is judged by its last 20 different recipients, of which at most 5 have the same domain: one dead domain does
# not condemn it. A gateway that serves too few domains for that is judged by its last 20, whatever their domains.
RECIPIENTS_JUDGED = 20
MOST_OF_DOMAIN = 5
# It refuses everyone when it refused 18 of them, or 9 in 10 of fewer, but at least 10.
SHARE_REFUSED = 0.9
LEAST_RECIPIENTS = 10
# It refuses a domain when it refused more different recipients there than count, and accepted none there since.
LEAST_OF_DOMAIN = MOST_OF_DOMAIN + 1
# So this many refusals at most are believed before a gateway is found out. Each of them may suppress an address.
MOST_BELIEVED = 17


@dataclass(frozen=True, slots=True)
class RecentRecipient:
    """What a gateway last answered to one recipient. `domain_accepted`: it has accepted one of the domain since."""

    domain: str
    refused: bool
    domain_accepted: bool = False


class Refuses(enum.StrEnum):
    """Whom a gateway refuses."""

    ONE = "this recipient"
    DOMAIN = "everyone at this domain"
    EVERYONE = "everyone"


def is_judged(verdict: Verdict) -> bool:
    """Whether the verdict says something about recipients: an acceptance, or a refusal of the recipient."""
    return verdict.outcome is Outcome.ACCEPTED or verdict.refuses_recipient


def judge(recent: Sequence[RecentRecipient], domain: str) -> Refuses:
    """Judge a refusal at `domain`. `recent` are the gateway's different recipients, newest first, this one included."""
    if refuses_everyone(recent):
        return Refuses.EVERYONE
    if domain in refused_domains(recent):
        return Refuses.DOMAIN
    return Refuses.ONE


def refuses_everyone(recent: Sequence[RecentRecipient]) -> bool:
    """Whether the gateway refuses nearly all of its last recipients. `recent` as for `judge`."""
    last = _last_at_different_domains(recent)
    if len(last) < LEAST_RECIPIENTS:
        last = recent[:RECIPIENTS_JUDGED]
    return len(last) >= LEAST_RECIPIENTS and sum(one.refused for one in last) >= SHARE_REFUSED * len(last)


def _last_at_different_domains(recent: Iterable[RecentRecipient]) -> Sequence[RecentRecipient]:
    seen: Counter[str] = Counter()
    last: list[RecentRecipient] = []
    for one in recent:
        seen[one.domain] += 1
        if seen[one.domain] <= MOST_OF_DOMAIN:
            last.append(one)
    return last[:RECIPIENTS_JUDGED]


def refused_domains(recent: Iterable[RecentRecipient]) -> frozenset[str]:
    """The domains at which the gateway refuses everyone."""
    refused = Counter(one.domain for one in recent if one.refused and not one.domain_accepted)
    return frozenset(domain for domain, recipients in refused.items() if recipients >= LEAST_OF_DOMAIN)


def in_effect(verdict: Verdict, refuses: Refuses) -> Verdict:
    """What a refusal comes to. Only one that is about its recipient fails the mail and may suppress the address."""
    match refuses:
        case Refuses.ONE:
            return verdict
        case Refuses.DOMAIN:
            outcome, reason = Outcome.TRY_LATER, f"{verdict.reason}, as everyone at this domain"
        case Refuses.EVERYONE:
            outcome, reason = Outcome.GATEWAY_FAULT, f"the gateway refuses everyone ({verdict.reason})"
    return replace(
        verdict,
        outcome=outcome,
        reason=reason,
        suppresses=False,
        refuses_recipient=False,
        refuses_everyone=refuses is Refuses.EVERYONE,
    )


def not_judged(verdict: Verdict) -> Verdict:
    """A refusal that cannot be judged, because the database is down: nothing has left, so the mail is tried again."""
    return replace(
        verdict,
        outcome=Outcome.GATEWAY_FAULT,
        reason=f"{verdict.reason}, and not judged",
        suppresses=False,
        refuses_recipient=False,
        blames_gateway=False,
    )
