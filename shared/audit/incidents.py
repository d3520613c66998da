"""The ledger of alerts: an incident opens once, however many processes see it, and closes when none has for a while.

A red incident owes the operators a mail when it opens, daily while it lasts, and when it closes. The statement that
changes the incident also writes the owed mail. Warnings are in the same ledger and owe nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..contract.ids import UUID
from ..db.pool import Pool
from ..observability.logs import get_logger
from .severity import Severity

_log = get_logger(__name__)


@dataclass(frozen=True)
class AlertRule:
    """Something that can be wrong. `hold_seconds`: how long it must be seen before it is an incident."""

    name: str
    severity: Severity = Severity.RED
    hold_seconds: float = 0


@dataclass(frozen=True)
class Symptom:
    """What is wrong now: `todo` is what an operator should do, `facts` the numbers and the commands."""

    name: str
    todo: str
    facts: str


@dataclass(frozen=True)
class Notice:
    """A mail owed to the operators."""

    alert_id: UUID
    phase: str
    subject: str
    body: str
    attempts: int


# One row per incident that is seen. The unique index lets one process open it; the others find it open. A day after the
# last mail another is owed: the row is locked, so only one process adds it.
RECORD_SEEN = """
WITH symptom AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::float8[], $4::text[], $5::text[])
        AS symptom (name, severity, hold_seconds, todo, facts)
), seen AS (
    INSERT INTO alerts AS a (name, severity, subject, opened_at)
    SELECT name, severity, todo, CASE WHEN hold_seconds = 0 THEN now() END FROM symptom ORDER BY name
    ON CONFLICT (name) WHERE closed_at IS NULL DO UPDATE SET
        severity = excluded.severity, subject = excluded.subject, seen_at = now(),
        opened_at = coalesce(a.opened_at, (
            SELECT now() FROM symptom s WHERE s.name = a.name AND a.since + make_interval(secs => hold_seconds) <= now()
        )),
        reminded_at = CASE
            WHEN coalesce(a.reminded_at, a.opened_at) + interval '1 day' <= now() THEN now() ELSE a.reminded_at
        END
    RETURNING
        new.id, new.name, new.severity, new.opened_at, new.reminded_at,
        old.opened_at IS NULL AND new.opened_at IS NOT NULL AS opened,
        old.id IS NOT NULL AND old.reminded_at IS DISTINCT FROM new.reminded_at AS reminded
), recorded AS (
    INSERT INTO history (kind, subject, related, actor, detail)
    SELECT 'alert.opened', id::text, ARRAY[name], $7, jsonb_build_object('name', name, 'severity', severity)
    FROM seen WHERE opened
), owed AS (
    INSERT INTO alert_notices (alert_id, phase, subject, body)
    SELECT id, 'opened', $8 || ': ' || todo, facts FROM seen JOIN symptom USING (name)
    WHERE $6 AND seen.severity = 'red' AND opened_at IS NOT NULL
    UNION ALL
    SELECT id, to_char(reminded_at AT TIME ZONE 'UTC', '"reminded-"YYYY-MM-DD"T"HH24:MI:SS.US'),
           $8 || ': still open: ' || todo, facts
    FROM seen JOIN symptom USING (name) WHERE $6 AND seen.severity = 'red' AND reminded
    ON CONFLICT DO NOTHING
)
SELECT name, severity FROM seen WHERE opened
"""

# $1 seen now, $2 cannot be judged now and so stay as they are, $3 seconds for which the others have not been seen.
CLOSE_UNSEEN = """
WITH over AS MATERIALIZED (
    SELECT id FROM alerts
    WHERE closed_at IS NULL AND NOT name = ANY ($1::text[] || $2::text[])
      AND seen_at + make_interval(secs => $3) <= now()
    FOR UPDATE
), forgotten AS (
    DELETE FROM alerts WHERE id IN (SELECT id FROM over) AND opened_at IS NULL
), closed AS (
    UPDATE alerts SET closed_at = now() WHERE id IN (SELECT id FROM over) AND opened_at IS NOT NULL
    RETURNING id, name, subject, opened_at, closed_at
), recorded AS (
    INSERT INTO history (kind, subject, related, actor, detail)
    SELECT 'alert.closed', id::text, ARRAY[name], $4, jsonb_build_object('name', name) FROM closed
), owed AS (
    INSERT INTO alert_notices (alert_id, phase, subject, body)
    SELECT id, 'closed', $5 || ': closed: ' || subject,
           format('The incident is over: %s.%s%s', subject, E'\\n\\n',
                  'It was open for ' || date_trunc('second', closed_at - opened_at) || '.')
    FROM closed WHERE EXISTS (SELECT FROM alert_notices n WHERE n.alert_id = closed.id)
    ON CONFLICT DO NOTHING
)
SELECT name FROM closed
"""

TAKE_DUE_NOTICES = """
UPDATE alert_notices n SET due_at = now() + make_interval(secs => $1), attempts = n.attempts + 1
FROM (
    SELECT alert_id, phase FROM alert_notices WHERE sent_at IS NULL AND due_at <= now()
    ORDER BY due_at, created_at LIMIT 20 FOR UPDATE SKIP LOCKED
) AS due
WHERE n.alert_id = due.alert_id AND n.phase = due.phase
RETURNING n.alert_id, n.phase, n.subject, n.body, n.attempts
"""

MARK_SENT_IF_TAKEN = """
WITH sent AS (
    UPDATE alert_notices SET sent_at = now(), via = $4
    WHERE alert_id = $1 AND phase = $2 AND attempts = $3 AND sent_at IS NULL RETURNING alert_id
)
INSERT INTO history (kind, subject, actor, detail)
SELECT 'alert.mailed', alert_id::text, $5, jsonb_build_object('phase', $2::text, 'via', $4::text) FROM sent
"""

# Open ones first, then the newest.
LIST_ALERTS = """
SELECT a.id, a.name, a.severity, a.subject, a.since, a.opened_at, a.seen_at, a.reminded_at, a.closed_at,
       (SELECT count(*) FROM alert_notices n WHERE n.alert_id = a.id AND n.sent_at IS NOT NULL) AS mails_sent,
       (SELECT count(*) FROM alert_notices n WHERE n.alert_id = a.id AND n.sent_at IS NULL) AS mails_owed
FROM alerts a WHERE a.opened_at IS NOT NULL
ORDER BY a.closed_at IS NOT NULL, a.id DESC LIMIT 500
"""

COUNT_ALERTS = """
SELECT name, severity, count(*) AS opened, count(*) FILTER (WHERE closed_at IS NULL) AS open
FROM alerts WHERE opened_at IS NOT NULL GROUP BY name, severity
"""

OPEN_ALERTS = """
SELECT name, severity, subject, extract(epoch FROM now() - opened_at)::float8 AS open_seconds
FROM alerts WHERE closed_at IS NULL AND opened_at IS NOT NULL ORDER BY name
"""


class Incidents:
    """The ledger of one service. Every method commits."""

    def __init__(self, pool: Pool, *, actor: str, mailed: bool, prefix: str = "Counterfoil") -> None:
        self._pool = pool
        self._actor = actor
        self._mailed = mailed
        self._prefix = prefix

    async def record(
        self, seen: Sequence[Symptom], sources: Mapping[str, AlertRule], unknown: Iterable[str], *, quiet_seconds: float
    ) -> None:
        """Open new incidents, update ongoing ones, close those not seen for `quiet_seconds`.

        `unknown` ones stay as they are. Mails are owed only when there are operators to mail.
        """
        if seen:
            columns = [(s.name, sources[s.name].severity, sources[s.name].hold_seconds, s.todo, s.facts) for s in seen]
            opened = await self._pool.fetch(
                RECORD_SEEN, *map(list, zip(*columns, strict=True)), self._mailed, self._actor, self._prefix
            )
            for row in opened:
                _log.warning("alert_opened", alert=row["name"], severity=row["severity"])
        closed = await self._pool.fetch(
            CLOSE_UNSEEN, [symptom.name for symptom in seen], list(unknown), quiet_seconds, self._actor, self._prefix
        )
        for row in closed:
            _log.warning("alert_closed", alert=row["name"])

    async def take_due(self, lease_seconds: float) -> list[Notice]:
        """Notices to send now; no other process takes them for `lease_seconds`."""
        return [Notice(**row) for row in await self._pool.fetch(TAKE_DUE_NOTICES, lease_seconds)]

    async def mark_sent(self, notice: Notice, via: str) -> None:
        """Does nothing when another process has taken the notice since."""
        await self._pool.execute(MARK_SENT_IF_TAKEN, notice.alert_id, notice.phase, notice.attempts, via, self._actor)


async def list_alerts(pool: Pool) -> list[dict[str, Any]]:
    """Open ones first, then the newest."""
    return [dict(row) for row in await pool.fetch(LIST_ALERTS)]
