"""Every kind of effect that can be owed. A new one is a file beside `mail` and a line in `EFFECTS`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from shared.contract.ids import UUID
from shared.db.pool import Pool
from shared.observability.spans import OFF, Tracing

from ..accounts.verification_token import TokenRing
from ..errors import ConfigurationError
from ..settings import Settings
from .effects.mail import MailEffect
from .effects.mail_erasure import MailErasureEffect
from .effects.profile_cache import CacheEffect
from .effects.statistics import StatsEffect
from .effects.webhook import WebhookEffect
from .events import Event
from .retry_policy import ClaimedRow, Outcome


class Effect(Protocol):
    """Makes rows of its kind come true. `name` is what stands in `outbox.effect`."""

    name: str

    async def perform(self, entries: Sequence[ClaimedRow]) -> Mapping[UUID, Outcome]:
        """A verdict on each row; raises PeerFaultError when there is none on any."""

    async def close(self) -> None: ...


@runtime_checkable
class SettlingEffect(Effect, Protocol):
    """An effect on our own database takes place in the statement that settles its rows: in the same commit, or not."""

    settle_delivered: str


@dataclass(frozen=True)
class Means:
    """What an effect may be made of."""

    settings: Settings
    ring: TokenRing
    pool: Pool
    tracing: Tracing = OFF


@dataclass(frozen=True)
class Kind:
    """`owed_for`: the events that owe it by themselves. Mails are owed by use cases, webhooks by their subscribers.

    An `optional` kind is owed when SIGNUP_EFFECTS lists it.
    """

    name: str
    # Connects nowhere yet: that happens when it is first needed.
    connect: Callable[[Means], Effect]
    owed_for: frozenset[Event] = frozenset()
    optional: bool = False
    # A lease must outlast one `perform`.
    least_lease_seconds: Callable[[Settings], float] = lambda _settings: 0.0
    # Relays side by side, so that one batch that waits does not hold up the next.
    relays: int = 1


_KINDS = (
    # Two: while one batch is in the mail service, the other is claimed or settled.
    Kind("mail", lambda means: MailEffect.connect(means.settings, means.ring, means.tracing), relays=2),
    Kind("stats", lambda _: StatsEffect(), StatsEffect.owed_for, optional=True),
    Kind("cache", lambda means: CacheEffect.connect(means.settings, means.pool), CacheEffect.owed_for, optional=True),
    Kind("erase_mail", lambda means: MailErasureEffect.connect(means.settings), MailErasureEffect.owed_for),
    Kind(
        "webhook",
        lambda means: WebhookEffect.connect(means.settings, means.ring, means.pool),
        # The last call of a batch starts when the first one must have ended.
        least_lease_seconds=lambda settings: 2 * settings.signup_webhook_timeout_seconds + 15,
        relays=3,
    ),
)
EFFECTS: Mapping[str, Kind] = {kind.name: kind for kind in _KINDS}


class Owed(NamedTuple):
    """Which event owes which effect, as two columns for a statement."""

    events: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()


NOTHING_BESIDE = Owed()


def effects_owed(setting: str, kinds: Mapping[str, Kind] = EFFECTS) -> Owed:
    """What every event owes beside mails and webhooks. `setting` is SIGNUP_EFFECTS.

    Raises:
        ConfigurationError: it names an effect that there is none of, or that is no matter of choice.
    """
    # An empty variable is taken for one that is not set, so nothing needs a word.
    chosen = {name.strip() for name in setting.split(",") if name.strip()} - {"none"}
    choice = {kind.name for kind in kinds.values() if kind.optional}
    if not chosen <= choice:
        raise ConfigurationError(
            f"SIGNUP_EFFECTS names {', '.join(sorted(chosen - choice))}; there are {', '.join(sorted(choice))}"
        )
    pairs = [
        (str(event), kind.name)
        for kind in kinds.values()
        if not kind.optional or kind.name in chosen
        for event in sorted(kind.owed_for)
    ]
    return Owed(*zip(*pairs, strict=True)) if pairs else NOTHING_BESIDE
