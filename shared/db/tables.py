"""The tables that both databases have, for SQLAlchemy. Constraints are in `migrations/statements.py`."""

from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg


class SharedTables(NamedTuple):
    """What `shared_tables` adds to a service's metadata."""

    history: sa.Table
    api_keys: sa.Table
    heartbeats: sa.Table
    check_results: sa.Table
    check_runs: sa.Table
    alerts: sa.Table
    alert_notices: sa.Table
    partition_upkeep: sa.Table


def shared_tables(metadata: sa.MetaData) -> SharedTables:
    return SharedTables(
        _history_table(metadata),
        _api_keys_table(metadata),
        _heartbeats_table(metadata),
        *_check_tables(metadata),
        *_alert_tables(metadata),
        _upkeep_table(metadata),
    )


def _history_table(metadata: sa.MetaData) -> sa.Table:
    """Partitioned by month on `at`; a trigger and the grants refuse every change (P7)."""
    return sa.Table(
        "history",
        metadata,
        sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("uuidv7()")),
        sa.Column("at", sa.TIMESTAMP(timezone=True), primary_key=True, server_default=sa.func.clock_timestamp()),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("related", pg.ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'::text[]")),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("correlation_id", sa.Text),
        sa.Column("traceparent", sa.Text),
        sa.Column("detail", pg.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Index("history_subject", "subject", "id"),
        sa.Index("history_related", "related", postgresql_using="gin"),
        postgresql_partition_by="RANGE (at)",
    )


def _api_keys_table(metadata: sa.MetaData) -> sa.Table:
    return sa.Table(
        "api_keys",
        metadata,
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("scopes", pg.ARRAY(sa.Text), nullable=False),
        sa.Column("key_hash", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True)),
        sa.Column("revoked_at", sa.TIMESTAMP(timezone=True)),
        sa.Index("api_keys_client", "client"),
    )


def _check_tables(metadata: sa.MetaData) -> tuple[sa.Table, sa.Table]:
    """Findings, and when the last run was claimed."""
    time = sa.TIMESTAMP(timezone=True)
    results = sa.Table(
        "check_results",
        metadata,
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("last_run_at", time, nullable=False),
        sa.Column("violations", sa.Integer, nullable=False),
        sa.Column("fixed", sa.Integer, nullable=False),
        sa.Column("fixed_total", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("examples", pg.JSONB, nullable=False, server_default="[]"),
        sa.Column("error", sa.Text),
    )
    runs = sa.Table(
        "check_runs",
        metadata,
        sa.Column("singleton", sa.Boolean, primary_key=True, server_default=sa.true()),
        sa.Column("claimed_at", time),
    )
    return results, runs


def _alert_tables(metadata: sa.MetaData) -> tuple[sa.Table, sa.Table]:
    """Incidents, and the mails that they owe the operators."""
    time = sa.TIMESTAMP(timezone=True)
    alerts = sa.Table(
        "alerts",
        metadata,
        sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("uuidv7()")),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("since", time, nullable=False, server_default=sa.func.now()),
        sa.Column("seen_at", time, nullable=False, server_default=sa.func.now()),
        sa.Column("opened_at", time),
        sa.Column("reminded_at", time),
        sa.Column("closed_at", time),
        sa.Index("alerts_open", "name", unique=True, postgresql_where=sa.text("closed_at IS NULL")),
    )
    notices = sa.Table(
        "alert_notices",
        metadata,
        sa.Column("alert_id", sa.Uuid, sa.ForeignKey("alerts.id"), primary_key=True),
        sa.Column("phase", sa.Text, primary_key=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", time, nullable=False, server_default=sa.func.now()),
        sa.Column("due_at", time, nullable=False, server_default=sa.func.now()),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("sent_at", time),
        sa.Column("via", sa.Text),
        sa.Index("alert_notices_due", "due_at", postgresql_where=sa.text("sent_at IS NULL")),
    )
    return alerts, notices


def _upkeep_table(metadata: sa.MetaData) -> sa.Table:
    """When each table was last maintained, and from when on it is complete (NULL: from its beginning)."""
    time = sa.TIMESTAMP(timezone=True)
    return sa.Table(
        "partition_upkeep",
        metadata,
        sa.Column("parent", sa.Text, primary_key=True),
        sa.Column("ran_at", time),
        sa.Column("kept_from", time),
        sa.Column("blocked_since", time),
    )


def _heartbeats_table(metadata: sa.MetaData) -> sa.Table:
    return sa.Table(
        "heartbeats",
        metadata,
        sa.Column("process", sa.Text, primary_key=True),
        sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("detail", pg.JSONB, nullable=False, server_default="{}"),
    )
