"""P1 and P2: what a yes of signup means, and when there is one."""

from collections import defaultdict
from collections.abc import Iterator

from ..asks import Ask
from ..evidence import Effect, Evidence, Outage, User
from .violation import Violation

# What each event owes besides mails (SIGNUP_EFFECTS), and webhooks.
_BESIDE = dict.fromkeys(("user.signed_up", "user.imported", "user.verified"), ("stats", "cache"))
_TEMPLATES = {"user.signed_up": "verification", "user.imported": "verification", "user.verified": "welcome"}
_OF_SIGNUP = ("signup", "keyed", "verify")
# A process or server that was away has to start, on a busy machine.
_RECOVERY_SECONDS = 15.0


def durable(evidence: Evidence) -> list[Violation]:
    """P1: a 2xx from signup means the user and every effect owed to them are durable, in one commit."""
    return [*_people_exist(evidence), *_effects_are_owed(evidence), *_answers_agree(evidence)]


def _people_exist(evidence: Evidence) -> Iterator[Violation]:
    users = {user.email: user for user in evidence.users}
    for ask in evidence.asks:
        if not ask.is_accepted:
            continue
        for email in _people(ask):
            user = users.get(email)
            if user is None:
                yield Violation(email, f"{ask.kind} was accepted, and there is no such user")
            elif ask.kind == "verify" and user.status != "verified":
                yield Violation(email, f"was told that the address is verified, and is {user.status}")


def _people(ask: Ask) -> list[str]:
    return [ask.key] if ask.kind in ("signup", "verify") else ask.members if ask.kind in ("keyed", "import") else []


def _effects_are_owed(evidence: Evidence) -> Iterator[Violation]:
    owed: dict[str, list[Effect]] = defaultdict(list)
    for effect in evidence.effects:
        if effect.user_id:
            owed[effect.user_id].append(effect)
    subscribers = [each for each in evidence.subscriptions if each.service == "signup"]
    for user in evidence.users:
        have = {(effect.effect, effect.what) for effect in owed[user.id]}
        told = {(effect.subscriber, effect.what) for effect in owed[user.id] if effect.effect == "webhook"}
        for kind in _events(user):
            wanted = [("mail", _TEMPLATES[kind]), *((effect, kind) for effect in _BESIDE[kind])]
            for effect_name, what in wanted:
                if (effect_name, what) not in have:
                    yield Violation(user.email, f"{kind}, and no {effect_name} {what} is owed to it")
            for subscriber in subscribers:
                if kind in subscriber.events and (subscriber.id, kind) not in told:
                    yield Violation(user.email, f"{kind}, and nothing is owed to subscriber {subscriber.id}")


def _events(user: User) -> list[str]:
    return [kind for kind in _BESIDE if kind in user.kinds]


def _answers_agree(evidence: Evidence) -> Iterator[Violation]:
    users = {user.email: user for user in evidence.users}
    for ask in evidence.asks:
        if ask.kind not in (*_OF_SIGNUP, "import"):
            continue
        if ask.said is not None:
            yield Violation(ask.key, f"{ask.kind} was refused: {ask.said[:200]}")
        if len(ask.identities) > 1:
            yield Violation(ask.key, f"answers to one {ask.kind} name {', '.join(ask.identities)}")
        user = users.get(ask.members[0]) if ask.kind == "keyed" else None
        if user is not None and ask.identities and user.id != ask.identities[0]:
            yield Violation(ask.key, f"the answer names {ask.identities[0]}, the user is another")


def says_yes(evidence: Evidence) -> list[Violation]:
    """P2: signup needs its own PostgreSQL and nothing else to say yes."""
    outages = [outage for outage in evidence.outages if outage.disturbs_signup]
    return [
        Violation(ask.key, f"{failure.what} after {failure.ended - failure.began:.1f} s while signup had all it needs")
        for ask in evidence.asks
        if ask.kind in _OF_SIGNUP
        for failure in ask.failures
        if not any(_overlaps(outage, failure.began, failure.ended) for outage in outages)
    ]


def _overlaps(outage: Outage, began: float, ended: float) -> bool:
    return began < outage.ended + _RECOVERY_SECONDS and outage.began < ended
