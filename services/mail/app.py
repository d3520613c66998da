"""Builds the mail API. Every collaborator of an endpoint is created here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

from fastapi import FastAPI
from prometheus_client import Counter

from shared.audit.alert_loop import running_alert_loop
from shared.audit.alert_reports import AlertMetrics
from shared.db.pool import open_database
from shared.http import error_handlers, openapi
from shared.http.audit_routes import checks_router
from shared.http.authentication import Authenticator
from shared.http.body_limit import BodyLimit
from shared.http.docs_page import docs_router
from shared.http.flow_routes import flow_router
from shared.http.middleware import RequestMiddleware
from shared.http.operations_routes import VERSION, operations_app, operations_router
from shared.http.root_page import root_router
from shared.http.tracing_middleware import NO_TELEMETRY, RequestSpans
from shared.observability.http_metrics import HttpMetrics
from shared.observability.stage_metrics import StageMetrics
from shared.observability.tracing import tracing_of
from shared.webhooks.routes import Webhooks
from shared.webhooks.subscribers import Subscribers
from shared.worker.wakeups import Pinger

from .audit.alerts import alert_catalog, make_alert_loop
from .audit.flow import make_flow_reader
from .audit.stage_metrics import STAGE_SOURCE
from .bounces.ingest import OUTCOMES
from .bounces.listen_address import open_socket, parse_listen_address
from .http import (
    attachments,
    body_sizes,
    bounces,
    changes,
    erasures,
    gateways,
    health,
    ledger,
    mails,
    operations,
    provider_events,
    suppressions,
    templates,
    webhooks,
)
from .http.app_state import AppState
from .intake.from_settings import load_templates, make_intake
from .process_names import QUEUE_CHANNEL
from .provider_events import ingest as event_ingest
from .provider_events.amazon_fetch import fetch_from_amazon
from .provider_events.registry import sources_of
from .provider_events.sns_certificates import Fetch
from .settings import Settings
from .webhooks.deliveries import WebhookDeliveries

if TYPE_CHECKING:  # each is loaded when it is used
    from shared.http.document.teaching import Teaching

    from .bounces.lmtp_listener import LmtpListener


def create_app(settings: Settings, *, fetch: Fetch = fetch_from_amazon) -> FastAPI:
    """Build the API for these settings. It connects on first use, so it starts while its database is down.

    `fetch` gets Amazon's certificates.

    Raises:
        ConfigurationError: a setting or a template is one that the API cannot work with.
    """
    mail_templates = load_templates(settings)
    metrics = HttpMetrics()
    catalog = alert_catalog(settings)
    alert_metrics = AlertMetrics(metrics.registry)
    stage_metrics = StageMetrics(metrics.registry, STAGE_SOURCE)
    tracing = tracing_of(settings.traces_endpoint, "mail-api")
    bounces_ingested = Counter(
        "mail_bounces", "Messages from the bounce mailbox, by outcome", ["outcome"], registry=metrics.registry
    )
    for outcome in OUTCOMES:
        bounces_ingested.labels(outcome)  # rate() needs a zero before the first increment
    event_sources = sources_of(settings.mail_provider_events, fetch)
    events_received = Counter(
        "mail_provider_events",
        "Events that providers posted, by provider and outcome; `refused` counts calls",
        ["provider", "outcome"],
        registry=metrics.registry,
    )
    for provider in event_sources:
        for outcome in event_ingest.COUNTED:
            events_received.labels(provider, outcome)
    listener = _bounce_listener(settings, bounces_ingested)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = await open_database(settings.database_options("counterfoil-mail-api"))
        pinger = Pinger(database.pool, QUEUE_CHANNEL, enabled=settings.wakeup == "listen")
        app.state.database = database
        app.state.authenticator = Authenticator(database.pool)
        intake = make_intake(settings, database, tracing, templates=mail_templates)
        app.state.mail = AppState(
            database=database,
            intake=intake,
            pinger=pinger,
            redis_url=str(settings.redis_url),
            bounce_domain=settings.mail_bounce_domain,
            content_days=settings.mail_content_days,
            suppression_days=settings.mail_suppression_days,
            attachments_max_bytes=settings.mail_attachments_max_bytes,
            kept=settings.kept,
            bounces=bounces_ingested,
            event_sources=event_sources,
            provider_events=events_received,
        )
        app.state.webhooks = Webhooks(
            Subscribers(database.pool, settings.webhook_ring, setting="MAIL_WEBHOOK_KEYS"),
            WebhookDeliveries(database.pool),
            may_be_private=settings.mail_webhook_allow_private,
        )
        # The API runs it too, because a dead worker cannot report itself.
        alert_loop = make_alert_loop(settings, intake, runs_checks=False, metrics=alert_metrics)
        notices = listener.serving(database) if listener is not None else nullcontext()
        async with running_alert_loop(alert_loop, settings.alert_seconds), notices:
            yield
        await pinger.close()
        await database.close()
        await tracing.close()

    app = FastAPI(
        title="Counterfoil mail",
        version=VERSION,
        description="Sends one mail per request ID, for ever, and reports what was sent.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
    )
    for router in (
        mails.router,  # first, because routes are tried in order
        root_router(),
        docs_router(),
        operations.router,
        ledger.router,
        attachments.router,
        changes.router,
        templates.router,
        suppressions.router,
        gateways.router,
        erasures.router,
        bounces.router,
        webhooks.router,
        provider_events.router,
        checks_router(catalog),
        flow_router(make_flow_reader()),
        operations_router(
            service="mail", registry=metrics.registry, checks=health.checks, collect=stage_metrics.refresh
        ),
    ):
        app.router.routes.extend(router.routes)
    app.state.registry = metrics.registry
    app.state.operations_app = operations_app(
        service="mail",
        state=app.state,
        registry=metrics.registry,
        checks=health.checks,
        collect=stage_metrics.refresh,
        observe=metrics.observe,
    )
    error_handlers.install(app)
    openapi.install(app, _teach)
    larger = body_sizes.with_attachments(settings.mail_attachments_max_bytes)
    app.add_middleware(BodyLimit, limit_of=body_sizes.limit_of, larger=larger)
    app.add_middleware(RequestMiddleware, observe=metrics.observe)
    if tracing.on:
        app.add_middleware(RequestSpans, tracing=tracing)
    return app


def _teach() -> "Teaching":
    from .http import document  # noqa: PLC0415 - only when the OpenAPI document is asked for

    return document.teach()


def _bounce_listener(settings: Settings, counter: Counter) -> "LmtpListener | None":
    """Bound, but not serving yet: an address that is taken stops the start."""
    if not settings.mail_bounce_listen:
        return None
    from .bounces.lmtp_listener import LmtpListener  # noqa: PLC0415 - most installations have none

    return LmtpListener(
        open_socket(parse_listen_address(settings.mail_bounce_listen)),
        bounce_domain=settings.mail_bounce_domain,
        suppression_days=settings.mail_suppression_days,
        count=lambda outcome: counter.labels(outcome).inc(),
    )
