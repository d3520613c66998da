"""The API's composition root: everything it is made of is put together here, and nowhere else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from redis.asyncio import Redis

from shared import handlers, openapi
from shared.alert_metrics import AlertMetrics
from shared.alerts import watching
from shared.auth import Authenticator
from shared.body_limit import BodyLimit
from shared.checks_router import checks_router
from shared.database import open_database
from shared.edge import Edge
from shared.metrics import HttpMetrics
from shared.operations import VERSION
from shared.request_spans import NO_TELEMETRY, RequestSpans
from shared.stage_metrics import StageMetrics
from shared.tracing import tracing_of
from shared.wakeup import Pinger

from .accounts.desk import Desk
from .accounts.terms import Terms
from .accounts.token import TokenRing
from .http import audit, imports, operations, reconciliation, signups, stats, subscribers, users, verifications
from .http.limits import ClientAddress, RateLimit
from .http.schemas import MAX_BODY_BYTES
from .http.state import State
from .ledger.alerts import make_watch, register_of
from .ledger.mail_side import MailSide
from .ledger.metrics import BOOK
from .settings import Settings
from .worker import OUTBOX_CHANNEL, database_options


def create_app(settings: Settings) -> FastAPI:
    """Connects nowhere: that happens when it is first needed.

    Raises:
        ConfigurationError: it cannot work with these settings.
    """
    ring = TokenRing.from_setting(settings.signup_token_keys)
    metrics = HttpMetrics()
    client_address = ClientAddress.from_setting(settings.signup_trusted_proxies)
    limit = RateLimit.from_setting(settings.signup_limit_per_ip, str(settings.redis_url), client_address)
    terms = Terms.of(settings, ring)
    register = register_of(settings)
    alert_metrics = AlertMetrics(metrics.registry)
    stage_metrics = StageMetrics(metrics.registry, BOOK)
    tracing = tracing_of(settings, "signup-api")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = await open_database(database_options(settings, "signup-api"))
        pinger = Pinger(database.pool, OUTBOX_CHANNEL, enabled=settings.wakeup == "listen")
        redis = Redis.from_url(str(settings.redis_url), socket_connect_timeout=1, socket_timeout=1)
        app.state.database = database
        app.state.authenticator = Authenticator(database.pool)
        desk = Desk(database.pool, terms)
        mail_side = app.state.mail_side = MailSide.connect(settings)
        # Here too: a worker cannot tell that it is gone.
        watch = make_watch(settings, database.pool, mail_side, runs_checks=False, metrics=alert_metrics)
        app.state.signup = State(
            database,
            pinger,
            ring,
            terms,
            desk,
            redis,
            client_address,
            limit,
            webhooks_may_be_private=settings.signup_webhook_allow_private,
            reconcile_lag_seconds=settings.reconcile_lag_seconds,
            kept=settings.kept,
        )
        async with watching(watch, settings.alert_seconds):
            yield
        await desk.close()
        await pinger.close()
        await mail_side.close()
        await redis.aclose()
        if limit:
            await limit.close()
        await database.close()
        await tracing.close()

    app = FastAPI(
        title="Counterfoil signup",
        version=VERSION,
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
    )
    for router in (
        signups.router,
        verifications.router,
        users.router,
        imports.router,
        stats.router,
        reconciliation.router,
        subscribers.router,
        audit.router,
        checks_router(register),
        operations.router(metrics.registry, stage_metrics.refresh),
    ):
        app.router.routes.extend(router.routes)
    app.state.registry = metrics.registry
    handlers.install(app)
    openapi.install(app)
    app.add_middleware(
        BodyLimit, limit_of=lambda path: settings.import_max_bytes if path == imports.PATH else MAX_BODY_BYTES
    )
    app.add_middleware(Edge, observe=metrics.observe)  # the last one added is the outermost
    if tracing.on:
        app.add_middleware(RequestSpans, tracing=tracing)
    return app
