"""The mail API, put together: everything an endpoint works with is built here and nowhere else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parseaddr

from fastapi import FastAPI

from shared import handlers, openapi
from shared.auth import Authenticator
from shared.body_limit import BodyLimit
from shared.contract import Recipient
from shared.database import DatabaseOptions, open_database
from shared.edge import Edge
from shared.metrics import HttpMetrics
from shared.operations import VERSION, operations_router
from shared.wakeup import Pinger

from .http import book, changes, gateways, health, mails, operations, suppressions, templates
from .intake.accept import Intake
from .intake.render import Templates
from .resources import Resources
from .settings import Settings
from .tables import history

# The worker listens here.
QUEUE_CHANNEL = "mail_queue"

_MEBIBYTE = 1 << 20
_LIMITS = {"/v1/mails/batch": 16 * _MEBIBYTE}


def create_app(settings: Settings) -> FastAPI:
    """The API for these settings. It connects when first asked, so it starts while its database is down."""
    metrics = HttpMetrics()

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
        app.state.resources = Resources(
            database=database,
            intake=Intake(
                database=database,
                templates=Templates.load(),
                sender=default_sender(settings),
                message_id_domain=settings.mail_message_id_domain,
                lifetime_seconds=settings.mail_expire_seconds,
            ),
            pinger=pinger,
            redis_url=str(settings.redis_url),
        )
        yield
        await pinger.close()
        await database.close()

    app = FastAPI(
        title="Counterfoil mail",
        version=VERSION,
        description="One mail per request ID, for ever; and what has been sent.",
        lifespan=lifespan,
        redoc_url=None,
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
    ):
        app.include_router(router)
    app.include_router(
        operations_router(service="mail", history=history, registry=metrics.registry, checks=health.checks)
    )
    handlers.install(app)
    openapi.install(app)
    app.add_middleware(BodyLimit, limit_of=lambda path: _LIMITS.get(path, _MEBIBYTE))
    app.add_middleware(Edge, observe=metrics.observe)
    return app


def default_sender(settings: Settings) -> Recipient:
    """MAIL_FROM, read. Raises pydantic's ValidationError when it holds no address."""
    name, email = parseaddr(settings.mail_from)
    return Recipient(email=email, name=name or None)
