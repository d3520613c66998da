"""What waits in the mail service's stages: the two lanes of the queue, and mails whose outcome is uncertain."""

import orjson

from shared.audit.flow import FlowReader, Now, StageNow
from shared.db.pool import Pool

from ..delivery.states import MailState
from . import queries

# Those that `mails.rare_state` holds: see tables.py, which would load SQLAlchemy.
_COMMON = (MailState.QUEUED, MailState.SENDING, MailState.DEFERRED, MailState.SENT)
RARE_STATES = tuple(str(state) for state in MailState if state not in _COMMON)

# $1 the rare states. Counts stop at 10,000, and each part scans an index from where rows are still alive.
READ_QUEUE_STAGES = f"""
SELECT
    (SELECT jsonb_agg(jsonb_build_object(
        'name', lane, 'waiting', waiting, 'in_flight', in_flight, 'oldest_seconds', oldest_seconds))
     FROM unnest(ARRAY['live', 'bulk']) AS lane
     CROSS JOIN LATERAL (
         SELECT count(*) FILTER (WHERE lease IS NULL) AS waiting,
                count(*) FILTER (WHERE lease IS NOT NULL) AS in_flight,
                extract(epoch FROM now() - min(due_at) FILTER (WHERE lease IS NULL AND due_at <= now()))
                    AS oldest_seconds
         FROM (
             SELECT lease, due_at FROM queue
             WHERE queue.lane = lane.lane AND due_at >= {queries.CLAIMED_UNTIL} ORDER BY due_at LIMIT 10000
         ) AS counted
     ) AS queued)::text AS lanes,
    in_doubt.uncertain, in_doubt.oldest_seconds,
    (SELECT jsonb_object_agg(rare.name, (
        SELECT count(*) FROM (SELECT FROM mails WHERE rare_state = rare.name LIMIT 10000) AS counted
    )) FROM unnest($1::text[]) AS rare (name))::text AS states,
    (SELECT extract(epoch FROM now() - at)::float8 FROM heartbeats WHERE process = 'mail-worker') AS worker_seconds
FROM (
    SELECT count(*) AS uncertain, extract(epoch FROM now() - min(since))::float8 AS oldest_seconds
    FROM ({queries.UNCERTAIN_SINCE}) AS uncertain
) AS in_doubt
"""


def make_flow_reader() -> FlowReader:
    return FlowReader(_read_now)


async def _read_now(pool: Pool) -> Now:
    row = await pool.fetchrow(READ_QUEUE_STAGES, list(RARE_STATES))
    assert row is not None
    lanes = [StageNow(**lane) for lane in orjson.loads(row["lanes"])]
    uncertain = StageNow("uncertain", row["uncertain"], 0, row["oldest_seconds"])
    return Now(row["worker_seconds"], [*lanes, uncertain], orjson.loads(row["states"]))
