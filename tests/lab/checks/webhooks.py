"""Webhooks: each event reaches each subscriber, under one ID, with the same bytes, in the order of its subject."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from ..evidence import Evidence, Subscription
from ..receiver import Call
from .violation import Violation


def told_once(evidence: Evidence) -> list[Violation]:
    """Webhooks: each event arrives under one ID, with the same bytes at every retry, in order."""
    found: list[Violation] = []
    for subscription in evidence.subscriptions:
        calls = [call for call in evidence.calls if call.subscriber == subscription.path]
        events = _events(evidence, subscription)
        found += [*_each_arrived(subscription, calls, events), *_same_bytes(calls), *_in_order(calls, events)]
    return found


def _events(evidence: Evidence, subscription: Subscription) -> dict[str, str]:
    """The subject of each event's ID, in the order of the events."""
    if subscription.service == "signup":
        effects = sorted(evidence.effects, key=lambda effect: effect.id)
        return {e.id: e.user_id or "" for e in effects if e.effect == "webhook" and e.subscriber == subscription.id}
    return {
        entry.id: entry.mail_id
        for entry in evidence.entries
        if entry.kind in subscription.events and entry.client == subscription.client
    }


def _each_arrived(subscription: Subscription, calls: Sequence[Call], events: dict[str, str]) -> Iterator[Violation]:
    arrived = {call.webhook_id for call in calls if call.answered}
    for event in events.keys() - arrived:
        yield Violation(event, f"did not arrive at the subscriber of {subscription.service}")
    for event in {call.webhook_id for call in calls} - events.keys():
        yield Violation(
            event, f"arrived at the subscriber of {subscription.service}, and {subscription.service} has no such event"
        )


def _same_bytes(calls: Sequence[Call]) -> Iterator[Violation]:
    digests: dict[str, set[str]] = defaultdict(set)
    for call in calls:
        digests[call.webhook_id].add(call.digest)
    for event, different in digests.items():
        if len(different) > 1:
            yield Violation(event, f"arrived with {len(different)} different bodies")


def _in_order(calls: Sequence[Call], events: dict[str, str]) -> Iterator[Violation]:
    rank = {event: number for number, event in enumerate(events)}
    latest: dict[str, int] = {}
    seen: set[str] = set()
    for call in calls:
        if call.webhook_id in seen or call.webhook_id not in rank:
            continue
        seen.add(call.webhook_id)
        subject = events[call.webhook_id]
        if rank[call.webhook_id] < latest.get(subject, -1):
            yield Violation(call.webhook_id, f"{call.event} came after a later event of {subject}")
        latest[subject] = max(rank[call.webhook_id], latest.get(subject, -1))
