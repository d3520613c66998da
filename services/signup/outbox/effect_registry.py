"""Every kind of effect that can be owed. A new kind is a file beside `mail` and a line in `_KINDS`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from shared.contract.configuration import ConfigurationError
from shared.contract.ids import UUID
from shared.db.pool import Pool
from shared.observability.spans import OFF, Tracing

from ..settings import Settings
from ..verification_token import TokenRing
from .effects.mail import MailEffect
from .effects.mail_erasure import MailErasureEffect
from .effects.statistics import StatsEffect
from .effects.webhook import WebhookEffect
from .events import Event
from .retry_policy import ClaimedRow, Outcome


class Effect(Protocol):
    """Performs rows of one kind. `name` is their value of `outbox.effect`."""

    name: str

    async def perform(self, entries: Sequence[ClaimedRow]) -> Mapping[UUID, Outcome]:
        """Returns the outcome of each row. Raises PeerFaultError when the peer gave no verdict on any."""

    async def close(self) -> None: ...


@runtime_checkable
class SettlingEffect(Effect, Protocol):
    """An effect on signup's own database: the statement that settles its rows performs it, in the same commit."""

    settle_delivered: str


@runtime_checkable
class RestingEffect(Effect, Protocol):
    """`rest_seconds`: the least time between two claims, while fewer rows wait than a batch holds."""

    rest_seconds: float


@dataclass(frozen=True)
class EffectContext:
    """What an effect is built from."""

    settings: Settings
    ring: TokenRing
    pool: Pool
    tracing: Tracing = OFF


@dataclass(frozen=True)
class Kind:
    """`owed_for`: the events that owe this effect by themselves. Use cases owe mails, subscriptions owe webhooks.

    An `optional` kind is owed when SIGNUP_EFFECTS lists it.
    """

    name: str
    # Opens no connection: the effect does so on first use.
    connect: Callable[[EffectContext], Effect]
    owed_for: frozenset[Event] = frozenset()
    optional: bool = False
    # A lease must outlast one `perform`.
    min_lease_seconds: Callable[[Settings], float] = lambda _settings: 0.0
    # How many batches run at once, so that one slow batch does not hold up the next.
    batches_at_once: int = 1


def _cache(context: EffectContext) -> Effect:
    from .effects.profile_cache import CacheEffect  # noqa: PLC0415 - the API, which owes it, needs no redis for that

    return CacheEffect.connect(context.settings, context.pool)


_KINDS = (
    # Two: while the mail service handles one batch, the other is claimed or settled.
    Kind("mail", lambda ctx: MailEffect.connect(ctx.settings, ctx.ring, ctx.tracing), batches_at_once=2),
    Kind("stats", lambda _: StatsEffect(), StatsEffect.owed_for, optional=True),
    Kind("cache", _cache, frozenset(Event), optional=True),
    Kind("erase_mail", lambda ctx: MailErasureEffect.connect(ctx.settings), MailErasureEffect.owed_for),
    Kind(
        "webhook",
        lambda ctx: WebhookEffect.connect(ctx.settings, ctx.ring, ctx.pool),
        # The last call of a batch starts when the first one times out at the latest.
        min_lease_seconds=lambda settings: 2 * settings.signup_webhook_timeout_seconds + 15,
        batches_at_once=3,
    ),
)
EFFECTS: Mapping[str, Kind] = {kind.name: kind for kind in _KINDS}


class Owed(NamedTuple):
    """Which event owes which effect, as two columns for a statement."""

    events: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()


NO_EFFECTS = Owed()


def effects_owed(setting: str, kinds: Mapping[str, Kind] = EFFECTS) -> Owed:
    """Which effects each event owes besides mails and webhooks. `setting` is SIGNUP_EFFECTS.

    Raises:
        ConfigurationError: `setting` names an effect that does not exist or is not optional.
    """
    # An empty variable counts as not set, so `none` turns every optional effect off.
    chosen = {name.strip() for name in setting.split(",") if name.strip()} - {"none"}
    allowed = {kind.name for kind in kinds.values() if kind.optional}
    if not chosen <= allowed:
        raise ConfigurationError(
            f"SIGNUP_EFFECTS names {', '.join(sorted(chosen - allowed))}; allowed: {', '.join(sorted(allowed))}, none"
        )
    pairs = [
        (str(event), kind.name)
        for kind in kinds.values()
        if not kind.optional or kind.name in chosen
        for event in sorted(kind.owed_for)
    ]
    return Owed(*zip(*pairs, strict=True)) if pairs else NO_EFFECTS
