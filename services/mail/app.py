"""The mail API, put together: everything an endpoint works with is built here and nowhere else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import Counter

from shared import handlers, openapi
from shared.alert_metrics import AlertMetrics
from shared.alerts import watching
from shared.auth import Authenticator
from shared.body_limit import BodyLimit
from shared.checks_router import checks_router
from shared.database import DatabaseOptions, open_database
from shared.edge import Edge
from shared.metrics import HttpMetrics
from shared.operations import VERSION, operations_router
from shared.request_spans import NO_TELEMETRY, RequestSpans
from shared.stage_metrics import StageMetrics
from shared.tracing import tracing_of
from shared.wakeup import Pinger

from .bounces.take_in import OUTCOMES
from .http import book, bounces, changes, erasures, gateways, health, mails, operations, suppressions, templates
from .ledger.alerts import make_watch, register_of
from .ledger.metrics import BOOK
from .resources import Resources, intake_of
from .settings import Settings
from .tables import history

# The worker listens here.
QUEUE_CHANNEL = "mail_queue"

_MEBIBYTE = 1 << 20
_LIMITS = {"/v1/mails/batch": 16 * _MEBIBYTE}


def create_app(settings: Settings) -> FastAPI:
    """The API for these settings. It connects when first asked, so it starts while its database is down."""
    metrics = HttpMetrics()
    register = register_of(settings)
    alert_metrics = AlertMetrics(metrics.registry)
    stage_metrics = StageMetrics(metrics.registry, BOOK)
    tracing = tracing_of(settings, "mail-api")
    bounces_taken_in = Counter(
        "mail_bounces", "Messages from the bounce mailbox, by what they came to", ["outcome"], registry=metrics.registry
    )
    for outcome in OUTCOMES:
        bounces_taken_in.labels(outcome)  # a rate needs the zero before the first one

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = await open_database(
            DatabaseOptions(
                settings.process_database_url,
                "counterfoil-mail-api",
                pool_size=settings.database_pool_size,
                statement_cache_size=settings.database_statement_cache_size,
            )
        )
        pinger = Pinger(database.pool, QUEUE_CHANNEL, enabled=settings.wakeup == "listen")
        app.state.database = database
        app.state.authenticator = Authenticator(database.pool)
        intake = intake_of(settings, database, tracing)
        app.state.resources = Resources(
            database=database,
            intake=intake,
            pinger=pinger,
            redis_url=str(settings.redis_url),
            bounce_domain=settings.mail_bounce_domain,
            content_days=settings.mail_content_days,
            kept=settings.kept,
            bounces=bounces_taken_in,
        )
        # Here too: a worker cannot tell that it is gone.
        watch = make_watch(settings, intake, runs_checks=False, metrics=alert_metrics)
        async with watching(watch, settings.alert_seconds):
            yield
        await pinger.close()
        await database.close()
        await tracing.close()

    app = FastAPI(
        title="Counterfoil mail",
        version=VERSION,
        description="One mail per request ID, for ever; and what has been sent.",
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
        openapi_tags=[{"name": "mails"}, {"name": "templates"}, {"name": "operators"}],
    )
    for router in (
        mails.router,
        operations.router,
        book.router,
        changes.router,
        templates.router,
        suppressions.router,
        gateways.router,
        erasures.router,
        bounces.router,
        checks_router(register),
    ):
        app.include_router(router)
    app.include_router(
        operations_router(
            service="mail",
            history=history,
            registry=metrics.registry,
            checks=health.checks,
            collect=stage_metrics.refresh,
        )
    )
    app.state.registry = metrics.registry
    handlers.install(app)
    openapi.install(app)
    app.add_middleware(BodyLimit, limit_of=lambda path: _LIMITS.get(path, _MEBIBYTE))
    app.add_middleware(Edge, observe=metrics.observe)
    if tracing.on:
        app.add_middleware(RequestSpans, tracing=tracing)
    return app
