"""What the runtime roles may update, column by column, and where they may not delete (since revision 0004 of both).

Revisions that ran somewhere must stay what they were: never change what is here, add beside it.
"""

from collections.abc import Mapping, Sequence

from migrations import statements

# Of the tables that both services have.
COMMON_UPDATED = {
    "api_keys": "client, scopes, revoked_at",
    "heartbeats": "at, detail",
    "check_results": "last_run_at, violations, fixed, fixed_total, examples, error",
    "check_runs": "claimed_at",
    "alerts": "severity, subject, seen_at, opened_at, reminded_at, closed_at",
    "alert_notices": "due_at, attempts, sent_at, via",
}
COMMON_NOT_DELETED = ("api_keys", "check_results", "check_runs", "alert_notices")


def narrow_grants(updated: Mapping[str, str], not_deleted: Sequence[str]) -> tuple[str, ...]:
    """Update rights by column instead of by table, and no right to delete."""
    role = statements.runtime_role()
    return (
        *(f"REVOKE UPDATE ON {table} FROM {role}" for table in updated),
        *(f"GRANT UPDATE ({columns}) ON {table} TO {role}" for table, columns in updated.items() if columns),
        *(f"REVOKE DELETE ON {table} FROM {role}" for table in not_deleted),
    )


def widen_grants(updated: Mapping[str, str], not_deleted: Sequence[str]) -> tuple[str, ...]:
    """The rights of before `narrow_grants`."""
    role = statements.runtime_role()
    return (
        *(f"REVOKE UPDATE ({columns}) ON {table} FROM {role}" for table, columns in updated.items() if columns),
        *(f"GRANT UPDATE ON {table} TO {role}" for table in updated),
        *(f"GRANT DELETE ON {table} TO {role}" for table in not_deleted),
    )
