"""What people build instead: FastAPI, a SQLAlchemy ORM session, commit, then one arq job that sends the mail.

`python -m tests.benchmarks.yardsticks.usual_way api|worker`, configured by the environment (see `main`).

It has what favours it: uvloop and httptools under uvicorn, uvloop under arq, a pool that holds a connection for each
client, a table with two indexes, templates compiled once, and a job that gets all it needs as arguments and so asks no
database. It keeps nothing about mails: no row, no history, no retry beyond arq's own. A crash between commit and
enqueue loses the mail; a crash of the worker may send it twice. Each job opens its own SMTP conversation, as
`aiosmtplib.send` does and most people write it.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from typing import Any
from uuid import UUID, uuid4

import aiosmtplib
import uvicorn
import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker
from fastapi import FastAPI, Request
from pydantic import BaseModel, EmailStr, JsonValue
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.mail.intake.template_engine import Templates

_CONNECTIONS = 16
_SENDER = "no-reply@counterfoil.test"


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    verified: Mapped[bool] = mapped_column(default=False)


class Signup(BaseModel):
    email: EmailStr
    name: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://")
    engine = create_async_engine(url, pool_size=_CONNECTIONS)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
    app.state.redis = await create_pool(RedisSettings.from_dsn(os.environ["REDIS_URL"]))
    yield
    await app.state.redis.aclose()
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/v1/signups", status_code=202)
async def sign_up(body: Signup, request: Request) -> dict[str, str]:
    user = User(email=body.email, name=body.name)
    try:
        async with request.app.state.sessions() as session:
            session.add(user)
            await session.commit()
    except IntegrityError:
        return {"status": "accepted"}
    await request.app.state.redis.enqueue_job("send_verification", str(user.id), user.email, user.name)
    return {"status": "accepted"}


async def send_verification(ctx: dict[str, Any], user_id: str, email: str, name: str) -> None:
    variables: dict[str, JsonValue] = {
        "name": name,
        "link": f"https://bench.example/verify/{user_id}",
        "expires_in_hours": 72,
    }
    rendered = ctx["templates"].render("verification", "en", variables)
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = _SENDER, email, rendered.subject
    message.set_content(rendered.text)
    message.add_alternative(rendered.html, subtype="html")
    await aiosmtplib.send(message, hostname="127.0.0.1", port=int(os.environ["SMTP_PORT"]), start_tls=False)


async def run_worker(max_jobs: int) -> str:
    """Run until SIGTERM. Returns how many jobs were complete, failed and tried again, as JSON."""
    worker = Worker(
        functions=[send_verification],
        redis_settings=RedisSettings.from_dsn(os.environ["REDIS_URL"]),
        ctx={"templates": Templates.load()},
        max_jobs=max_jobs,
    )
    with contextlib.suppress(asyncio.CancelledError):
        await worker.async_run()
    await worker.close()
    return json.dumps({"complete": worker.jobs_complete, "failed": worker.jobs_failed, "retried": worker.jobs_retried})


def main(role: str) -> None:
    """DATABASE_URL, REDIS_URL, SMTP_PORT; PORT for the API, MAX_JOBS (arq's default: 10) for the worker."""
    if role == "worker":
        sys.stdout.write(uvloop.run(run_worker(int(os.environ.get("MAX_JOBS", "10")))) + "\n")
        return
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_config=None,
    )


if __name__ == "__main__":
    main(sys.argv[1])
