"""The worker process: relays for each effect, the heartbeat, upkeep, and arq beside them.

The loops live in this process, not in arq jobs: they go on while Valkey is away (DESIGN decision 1). Every loop polls;
pings, arq's cron and the listener only make it sooner.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from arq.cron import cron

from shared.arq_host import run_arq
from shared.breaker import Breaker
from shared.database import Database, DatabaseOptions, open_database
from shared.log import get_logger
from shared.loops import Loop, keep_running, run_until_signalled
from shared.partitions import Partitions
from shared.tracing import tracing_of
from shared.wakeup import Listener, Pinger

from .accounts.cleaning import Cleaning
from .accounts.import_users.sweep import Sweep
from .accounts.import_users.work import Importer
from .accounts.terms import Terms
from .accounts.token import TokenRing
from .errors import ConfigurationError
from .ledger.alerts import make_watch
from .ledger.loops import bookkeepers
from .ledger.mail_side import MailSide
from .ledger.upkeep import Heartbeat
from .mail_service import MailService
from .outbox.effects import EFFECTS, Means
from .outbox.relay import Relay
from .settings import Settings

_log = get_logger(__name__)

OUTBOX_CHANNEL = "signup_outbox"
_QUEUE = "counterfoil:signup"
_HEARTBEAT_SECONDS = 5.0
_UPKEEP_SECONDS = 3600.0


class Bell(asyncio.Event):
    """One event that rings several: each loop clears its own."""

    def __init__(self, events: Sequence[asyncio.Event]) -> None:
        super().__init__()
        self._events = events

    def set(self) -> None:
        for event in self._events:
            event.set()


async def run(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT, then finishes the batches under way. PostgreSQL and Valkey may come and go.

    Raises:
        ConfigurationError: it cannot work with these settings.
    """
    ring = TokenRing.from_setting(settings.signup_token_keys)
    if not settings.mail_api_key:
        raise ConfigurationError("MAIL_API_KEY is empty: it must hold a key that the mail service knows signup by")
    if settings.signup_lease_seconds <= settings.mail_timeout_seconds:
        raise ConfigurationError("SIGNUP_LEASE_SECONDS must be longer than MAIL_TIMEOUT_SECONDS, or leases run out")
    options = database_options(settings, "signup-worker")
    database = await open_database(options)
    tracing = tracing_of(settings, "signup-worker")
    means = Means(settings, ring, database.pool, tracing)
    effects = [(kind, kind.connect(means)) for kind in EFFECTS.values()]
    relays = [
        Relay(
            database.pool,
            effect,
            breaker=breaker,
            batch=settings.signup_relay_batch,
            lease_seconds=max(settings.signup_lease_seconds, kind.least_lease_seconds(settings)),
            tracing=tracing,
        )
        for kind, effect in effects
        for breaker in [Breaker(kind.name)]
        for _ in range(kind.relays)
    ]
    terms = Terms.of(settings, ring)
    cleaning = Cleaning(database.pool, terms, days=settings.signup_pending_days)
    pinger = Pinger(database.pool, OUTBOX_CHANNEL, enabled=settings.wakeup == "listen")
    imports = (Importer(database.pool, terms, owed=pinger.ping), Sweep(database.pool, terms))
    mail_service = MailService.connect(settings)
    mail_side = MailSide.connect(settings)
    watch = make_watch(settings, database.pool, mail_side, runs_checks=True)
    books = [*bookkeepers(settings, database.pool, mail_service, terms), (watch, settings.alert_seconds)]
    try:
        await _work(settings, options, database, relays, cleaning, imports, books)
    finally:
        await mail_service.close()
        await mail_side.close()
        for _, effect in effects:
            await effect.close()
        await pinger.close()
        await database.close()
        await tracing.close()


def database_options(settings: Settings, application_name: str) -> DatabaseOptions:
    return DatabaseOptions(
        settings.process_database_url,
        application_name,
        pool_size=settings.database_pool_size,
        statement_cache_size=settings.database_statement_cache_size,
    )


async def _work(
    settings: Settings,
    options: DatabaseOptions,
    database: Database,
    relays: Sequence[Relay],
    cleaning: Cleaning,
    imports: Sequence[Loop],
    books: Sequence[tuple[Loop, float]],
) -> None:
    outbox_wakes = [asyncio.Event() for _ in relays]
    import_wakes = [asyncio.Event() for _ in imports]
    book_wakes = [asyncio.Event() for _ in books]
    bell, beat, upkeep_wakes = Bell(outbox_wakes), asyncio.Event(), (asyncio.Event(), asyncio.Event())
    upkeep = Bell([*upkeep_wakes, *book_wakes])
    listener = Listener(options, OUTBOX_CHANNEL, bell) if settings.wakeup == "listen" else None

    def detail() -> dict[str, Any]:
        return {
            "listening": listener.listening if listener else None,
            "effects": {
                relay.breaker.name: {
                    "breaker": relay.breaker.state,
                    "last_fault": relay.breaker.last_fault,
                    "rows": dict(sum((one.counts for one in relays if one.breaker is relay.breaker), Counter())),
                }
                for relay in relays
            },
        }

    heartbeat, partitions = Heartbeat(database.pool, detail), Partitions(database.pool, settings.kept)

    async def start(stop: asyncio.Event) -> None:
        def looping(loop: Loop, wake: asyncio.Event, poll_seconds: float) -> asyncio.Task[None]:
            return asyncio.create_task(keep_running(loop, wake=wake, stop=stop, poll_seconds=poll_seconds))

        listening = asyncio.create_task(listener.run()) if listener else None
        arq = asyncio.create_task(_run_arq(settings, bell, upkeep, book_wakes[-1], stop))
        _log.info("worker_started", effects=list(EFFECTS))
        await asyncio.gather(
            looping(heartbeat, beat, _HEARTBEAT_SECONDS),
            looping(partitions, upkeep_wakes[0], _UPKEEP_SECONDS),
            looping(cleaning, upkeep_wakes[1], _UPKEEP_SECONDS),
            *(
                looping(relay, wake, settings.signup_poll_seconds)
                for relay, wake in zip(relays, outbox_wakes, strict=True)
            ),
            *(
                looping(loop, wake, settings.signup_poll_seconds)
                for loop, wake in zip(imports, import_wakes, strict=True)
            ),
            *(looping(loop, wake, seconds) for (loop, seconds), wake in zip(books, book_wakes, strict=True)),
            arq,
        )
        if listening:
            listening.cancel()
        _log.info("worker_stopped")

    await run_until_signalled(start, wakes=(bell, beat, upkeep, *import_wakes))


async def _run_arq(
    settings: Settings, bell: asyncio.Event, upkeep: asyncio.Event, watch: asyncio.Event, stop: asyncio.Event
) -> None:
    async def wake_relays(ctx: dict[Any, Any], *_: Any, **__: Any) -> None:
        del ctx
        bell.set()

    async def wake_upkeep(ctx: dict[Any, Any], *_: Any, **__: Any) -> None:
        del ctx
        upkeep.set()

    async def wake_watch(ctx: dict[Any, Any], *_: Any, **__: Any) -> None:
        del ctx
        watch.set()

    await run_arq(
        redis_url=str(settings.redis_url),
        queue_name=_QUEUE,
        functions=[],
        # Not `unique`: what they set lives in this process, so each process needs its own run.
        cron_jobs=[
            cron(wake_relays, second=set(range(60)), unique=False, keep_result=0),
            cron(wake_upkeep, minute=0, second=0, unique=False, keep_result=0),
            # Sanity checks are due every 5 minutes; which process runs them, the database decides.
            cron(wake_watch, minute=set(range(0, 60, 5)), second=0, unique=False, keep_result=0),
        ],
        context={},
        stop=stop,
    )
