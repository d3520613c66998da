"""faststream-outbox with one POST for each row. Runs in the benchmarks' own virtual environment.

Its defaults are one worker and one poll a second; here it gets txoutbox's defaults: batches of 50, 10 at once.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import uvloop
from faststream_outbox import OutboxBroker, make_outbox_table  # type: ignore[import-not-found] # in var/bench-venv
from sqlalchemy import MetaData, func, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

_POLL_SECONDS = 0.01


async def main(requests: list[dict[str, Any]]) -> float:
    """Seconds from the start of the broker to the last row's removal."""
    metadata = MetaData()
    table = make_outbox_table(metadata, table_name="faststream_outbox")
    url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://")
    engine = create_async_engine(url, pool_size=20)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    broker = OutboxBroker(engine, outbox_table=table, logger=None)
    headers = {"Authorization": f"Bearer {os.environ['MAIL_API_KEY']}"}
    async with httpx.AsyncClient(base_url=os.environ["MAIL_URL"], headers=headers, trust_env=False) as http:

        @broker.subscriber("mail", max_workers=10, fetch_batch_size=50, min_fetch_interval=0.01)  # type: ignore[untyped-decorator]
        async def publish(body: dict[str, Any]) -> None:
            (await http.post("/v1/mails", json=body)).raise_for_status()

        async with AsyncSession(engine) as session, session.begin():
            for request in requests:
                await broker.publish(request, queue="mail", session=session)
        began = time.perf_counter()
        async with broker, engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            while await connection.scalar(select(func.count()).select_from(table)):  # noqa: ASYNC110 - of a database
                await asyncio.sleep(_POLL_SECONDS)
            return time.perf_counter() - began


if __name__ == "__main__":
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    sys.stdout.write(f"{uvloop.run(main([json.loads(line) for line in lines]))}\n")
