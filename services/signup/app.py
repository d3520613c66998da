"""The API's composition root: it builds every collaborator, and no other module does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI

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
from shared.http.operations_routes import VERSION, operations_app
from shared.http.root_page import root_router
from shared.http.tracing_middleware import NO_TELEMETRY, RequestSpans
from shared.observability.http_metrics import HttpMetrics
from shared.observability.stage_metrics import StageMetrics
from shared.observability.tracing import tracing_of
from shared.webhooks.routes import Webhooks
from shared.webhooks.subscribers import Subscribers
from shared.worker.wakeups import Pinger

from .accounts.attack_switch import AttackSwitch
from .accounts.challenges import ChallengePolicy, Challenges
from .accounts.effect_policy import EffectPolicy
from .accounts.signup_batcher import SignupBatcher
from .audit.alerts import alert_catalog, make_alert_loop
from .audit.flow import make_flow_reader
from .audit.mail_service_view import MailServiceView
from .audit.stage_metrics import STAGE_SOURCE
from .brand import Brand
from .console.mount import ConsoleRoute
from .http import (
    audit,
    challenges,
    example_form,
    health,
    imports,
    operations,
    reconciliation,
    signups,
    statistics,
    users,
    verifications,
    webhooks,
)
from .http.app_state import AppState
from .http.client_address import ClientAddress
from .http.pages import Pages
from .http.schemas import MAX_BODY_BYTES
from .outbox.webhook_deliveries import WebhookDeliveries
from .process_names import OUTBOX_CHANNEL
from .settings import Settings
from .verification_token import TokenRing

if TYPE_CHECKING:
    from shared.http.document.teaching import Teaching

    from .http.rate_limit import RateLimit


def create_app(settings: Settings) -> FastAPI:
    """Build the API. The lifespan opens the connections, not this function.

    Raises:
        ConfigurationError: a setting or a page is one that the API cannot work with.
    """
    brand = Brand.of(settings)
    pages = Pages.load(Path(settings.signup_pages) if settings.signup_pages else None, brand)
    ring = TokenRing.from_setting(settings.signup_token_keys)
    metrics = HttpMetrics()
    client_address = ClientAddress.from_setting(settings.signup_trusted_proxies)
    limit = _rate_limit(settings, client_address)
    switch = AttackSwitch(settings.signup_challenge_per_minute)
    challenge = ChallengePolicy(settings.signup_challenge, Challenges(ring), switch)
    policy = EffectPolicy.of(settings, ring)
    catalog = alert_catalog(settings)
    alert_metrics = AlertMetrics(metrics.registry)
    stage_metrics = StageMetrics(metrics.registry, STAGE_SOURCE)
    flow = make_flow_reader()
    console = ConsoleRoute(settings) if settings.console == "on" else None
    tracing = tracing_of(settings.traces_endpoint, "signup-api")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = await open_database(settings.database_options("signup-api"))
        pinger = Pinger(database.pool, OUTBOX_CHANNEL, enabled=settings.wakeup == "listen")
        app.state.database = database
        app.state.authenticator = Authenticator(database.pool)
        batcher = SignupBatcher(database.pool, policy)
        mail_service_view = app.state.mail_service_view = MailServiceView.connect(settings)
        # In the API as well: a dead worker cannot report itself.
        alert_loop = make_alert_loop(
            settings, database.pool, mail_service_view, runs_checks=False, metrics=alert_metrics
        )
        app.state.signup = AppState(
            database,
            pinger,
            ring,
            policy,
            batcher,
            brand,
            pages,
            str(settings.redis_url),
            client_address,
            limit,
            challenge,
            reconcile_lag_seconds=settings.reconcile_lag_seconds,
            kept=settings.kept,
        )
        app.state.webhooks = Webhooks(
            Subscribers(database.pool, ring, setting="SIGNUP_TOKEN_KEYS"),
            WebhookDeliveries(database.pool, policy.give_up_seconds),
            may_be_private=settings.signup_webhook_allow_private,
            on_replay=pinger.ping,
        )
        async with running_alert_loop(alert_loop, settings.alert_seconds):
            yield
        await batcher.close()
        await pinger.close()
        if console:
            await console.close()
        await mail_service_view.close()
        if limit:
            await limit.close()
        await database.close()
        await tracing.close()

    app = FastAPI(
        title="Counterfoil signup",
        version=VERSION,
        description="Signs people up, verifies their addresses, and performs every effect that is owed to them.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
    )
    for router in (
        signups.router,  # first, because routes are tried in order
        root_router(),
        docs_router(),
        challenges.router,
        example_form.router,
        verifications.router,
        users.router,
        imports.router,
        statistics.router,
        reconciliation.router,
        webhooks.router,
        audit.router,
        checks_router(catalog),
        flow_router(flow),
        operations.router(metrics.registry, stage_metrics.refresh),
    ):
        app.router.routes.extend(router.routes)
    if console:
        app.router.routes.append(console)
    app.state.flow = flow
    app.state.registry = metrics.registry
    app.state.operations_app = operations_app(
        service="signup",
        state=app.state,
        registry=metrics.registry,
        checks=health.checks,
        collect=stage_metrics.refresh,
        observe=metrics.observe,
    )
    error_handlers.install(app)
    openapi.install(app, _teach)
    app.add_middleware(
        BodyLimit, limit_of=lambda path: settings.import_max_bytes if path == imports.PATH else MAX_BODY_BYTES
    )
    app.add_middleware(RequestMiddleware, observe=metrics.observe)  # the last one added is the outermost
    if tracing.on:
        app.add_middleware(RequestSpans, tracing=tracing)
    return app


def _teach() -> "Teaching":
    from .http import document  # noqa: PLC0415 - only when the OpenAPI document is asked for

    return document.teach()


def _rate_limit(settings: Settings, client_address: ClientAddress) -> "RateLimit | None":
    """None when SIGNUP_LIMIT_PER_IP is `off`."""
    if settings.signup_limit_per_ip.strip().lower() == "off":
        return None
    from .http.rate_limit import RateLimit  # noqa: PLC0415 - 6 MB with redis, only when there is a limit

    return RateLimit(
        settings.signup_limit_per_ip, settings.signup_limit_per_network, str(settings.redis_url), client_address
    )
