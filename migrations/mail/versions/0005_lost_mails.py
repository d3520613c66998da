"""What stays of a mail whose row is deleted: whoever asks for it again is not mailed again.

Revises: 0004
"""

from alembic import op

from migrations import statements

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# No process deletes a mail; whoever does it by hand takes away the row that keeps its request ID (P4) and that
# it was sent (P5). Both stay here, with nothing personal.
_LOST = (
    """
    CREATE TABLE lost_mails (
        request_id text NOT NULL,
        client text NOT NULL,
        mail_id uuid NOT NULL,
        fingerprint bytea NOT NULL,
        state text NOT NULL,
        message_id text NOT NULL,
        accepted_at timestamptz NOT NULL,
        sent_at timestamptz,
        lost_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (request_id, client)
    )
    """,
    "CREATE INDEX lost_mails_lost ON lost_mails (lost_at)",
    # A request ID may be lost more than once. That its mail was sent is never taken back.
    """
    CREATE FUNCTION remember_lost_mails() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    BEGIN
        IF TG_OP = 'TRUNCATE' THEN
            INSERT INTO public.lost_mails
                (request_id, client, mail_id, fingerprint, state, message_id, accepted_at, sent_at)
            SELECT request_id, client, id, fingerprint, state, message_id, accepted_at, sent_at FROM public.mails
            ON CONFLICT DO NOTHING;
        ELSE
            INSERT INTO public.lost_mails AS l
                (request_id, client, mail_id, fingerprint, state, message_id, accepted_at, sent_at)
            SELECT request_id, client, id, fingerprint, state, message_id, accepted_at, sent_at FROM gone
            ON CONFLICT (request_id, client) DO UPDATE SET
                mail_id = excluded.mail_id, fingerprint = excluded.fingerprint, state = excluded.state,
                message_id = excluded.message_id, accepted_at = excluded.accepted_at, sent_at = excluded.sent_at,
                lost_at = now()
            WHERE l.sent_at IS NULL;
        END IF;
        RETURN NULL;
    END $$
    """,
    "REVOKE ALL ON FUNCTION remember_lost_mails() FROM PUBLIC",
    """
    CREATE TRIGGER mails_leave_a_trace AFTER DELETE ON mails REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION remember_lost_mails()
    """,
    """
    CREATE TRIGGER mails_leave_all_traces BEFORE TRUNCATE ON mails
    FOR EACH STATEMENT EXECUTE FUNCTION remember_lost_mails()
    """,
    # Also for whoever turns off foreign keys (session_replication_role) to delete more easily.
    "ALTER TABLE mails ENABLE ALWAYS TRIGGER mails_leave_a_trace",
    "ALTER TABLE mails ENABLE ALWAYS TRIGGER mails_leave_all_traces",
)


def upgrade() -> None:
    statements.execute([*_LOST, f"GRANT SELECT ON lost_mails TO {statements.runtime_role()}"])


def downgrade() -> None:
    op.execute("DROP TRIGGER mails_leave_a_trace ON mails")
    op.execute("DROP TRIGGER mails_leave_all_traces ON mails")
    op.execute("DROP FUNCTION remember_lost_mails()")
    op.execute("DROP TABLE lost_mails")
