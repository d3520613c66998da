"""Who wrote a user's details, and the erasure of details that are held beside a link (ADR 0020).

`written_by_key` is true for users from before: an anonymous signup changes none of them. The processes of version 0.1.0
write true as well, by the default.

Revises: 0001
"""

from alembic import op

from migrations import statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ERASE = """
CREATE OR REPLACE FUNCTION erase_user_payloads(erased uuid[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    changed integer;
BEGIN
    IF EXISTS (SELECT FROM users WHERE id = ANY (erased) AND status <> 'erased') THEN
        RAISE EXCEPTION 'only payloads of erased users are erased' USING ERRCODE = 'restrict_violation';
    END IF;
    UPDATE outbox_settled SET payload = payload - '{keys}'::text[]
    WHERE user_id = ANY (erased) AND payload ?| '{keys}'::text[];
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END $$
"""


def upgrade() -> None:
    role = statements.runtime_role()
    statements.execute(
        [
            # A constant default: no row is rewritten.
            "ALTER TABLE users ADD COLUMN written_by_key boolean NOT NULL DEFAULT true",
            f"GRANT SELECT (written_by_key), INSERT (written_by_key), UPDATE (written_by_key) ON users TO {role}",
            # Keeps its grants: only the runtime role may call it.
            _ERASE.replace("{keys}", "{to,details}"),
        ]
    )


def downgrade() -> None:
    # The older function and the older services would leave them behind when they erase a user.
    for table in ("outbox", "outbox_settled"):
        op.execute(f"UPDATE {table} SET payload = payload - 'details' WHERE payload ? 'details'")
    op.execute(_ERASE.replace("{keys}", "{to}"))
    op.execute("ALTER TABLE users DROP COLUMN written_by_key")
