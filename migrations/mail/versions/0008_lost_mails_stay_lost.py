"""What is remembered of deleted mails holds against whatever happens at the same moment, and afterwards.

A mail's queue row goes with it, foreign keys or none. That it was sent is not forgotten by a TRUNCATE either. And a
request that waited while the row of its ID was being deleted, and so could not see what was kept of it, is told to look
again.

Revises: 0007
"""

from alembic import op

from migrations import statements

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_REMEMBER = """
            INSERT INTO public.lost_mails AS l
                (request_id, client, mail_id, fingerprint, state, message_id, accepted_at, sent_at)
            SELECT request_id, client, id, fingerprint, state, message_id, accepted_at, sent_at FROM {gone}
            ON CONFLICT (request_id, client) DO UPDATE SET
                mail_id = excluded.mail_id, fingerprint = excluded.fingerprint, state = excluded.state,
                message_id = excluded.message_id, accepted_at = excluded.accepted_at, sent_at = excluded.sent_at,
                lost_at = now()
            WHERE l.sent_at IS NULL;
"""

_LOST = (
    f"""
    CREATE OR REPLACE FUNCTION remember_lost_mails() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    BEGIN
        IF TG_OP = 'TRUNCATE' THEN
            {_REMEMBER.format(gone="public.mails")}
            DELETE FROM public.queue;
        ELSE
            {_REMEMBER.format(gone="gone")}
            DELETE FROM public.queue q USING gone WHERE q.mail_id = gone.id;
        END IF;
        RETURN NULL;
    END $$
    """,
    # In a function every statement has a snapshot of its own, so it sees what was deleted while the insert waited.
    """
    CREATE FUNCTION refuse_lost_mails() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
    BEGIN
        IF EXISTS (
            SELECT FROM fresh f WHERE f.state = 'queued' AND (
                SELECT true FROM public.lost_mails l
                WHERE l.request_id = f.request_id AND l.client = f.client
                  AND l.state NOT IN ('queued', 'deferred')
                  AND NOT (l.state = 'sending' AND f.on_uncertain = 'resend' AND l.fingerprint = f.fingerprint)
            )
        ) THEN
            RAISE EXCEPTION 'a mail of this request ID has just been deleted: look again'
                USING ERRCODE = 'serialization_failure';
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER mails_are_not_lost_ones AFTER INSERT ON mails REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_lost_mails()
    """,
)


def upgrade() -> None:
    statements.execute(_LOST)


def downgrade() -> None:
    """`remember_lost_mails` stays as it is: it goes with the table it writes to."""
    op.execute("DROP TRIGGER mails_are_not_lost_ones ON mails")
    op.execute("DROP FUNCTION refuse_lost_mails()")
