"""P6 and P7: the ledgers agree, and history only grows."""

from ..mutation import Mutation

_COMPARE = "services/signup/reconciliation/compare.py"
_FEED = "services/signup/reconciliation/feed_queries.py"
_STATEMENTS = "migrations/statements.py"
_FOLLOWER = "tests/integration/reconciliation/test_follower.py"
_MIGRATIONS = "tests/migrations/test_migrations.py"
_COMPARED = "tests/unit/reconciliation/test_compare.py"

MUTATIONS = (
    Mutation(
        "feed-shows-what-may-be-overtaken",
        "P6",
        "services/mail/ledger/queries.py",
        "            WHERE (h.position, h.id) > ($1::bigint, $2::uuid) AND h.position < (SELECT feed_horizon())\n",
        "            WHERE (h.position, h.id) > ($1::bigint, $2::uuid)\n",
        "A change that commits late appears behind a cursor that was already given out, so no follower reads it.",
        ("tests/integration/mail/test_changes.py::test_a_change_is_shown_only_when_no_earlier_one_can_still_commit",),
    ),
    Mutation(
        "cursor-of-another-worker",
        "P6",
        _FEED,
        "cursor = $2, moved_at = now() WHERE cursor IS NOT DISTINCT FROM $1 RETURNING true",
        "cursor = $2, moved_at = now() RETURNING true",
        "A worker that read an old page overwrites newer outcomes and moves the cursor back.",
        (f"{_FOLLOWER}::test_a_page_that_was_read_from_another_cursor_is_not_stored",),
    ),
    Mutation(
        "sent-is-taken-back",
        "P6",
        _FEED,
        "        sent_at = coalesce(f.sent_at, excluded.sent_at)\n)\n",
        "        sent_at = excluded.sent_at\n)\n",
        "After a restore of the mail database signup's ledger forgets that a mail was sent.",
        (f"{_FOLLOWER}::test_that_a_mail_was_sent_is_never_taken_back",),
    ),
    Mutation(
        "lost-record-is-sent-again",
        "P6",
        _COMPARE,
        "            yield _lost(own) if own.known_sent else _missing(own)\n",
        "            yield _missing(own)\n",
        "A mail that was sent and whose record is lost is requested again instead of written back.",
        (f"{_COMPARED}::test_a_mail_unknown_to_the_mail_service_is_lost_or_missing_by_what_signup_knows",),
        fixed=True,
    ),
    Mutation(
        "differences-are-not-named",
        "P6",
        _COMPARE,
        "    if expected is not None and expected != mail.fingerprint:\n",
        "    if expected is not None and not mail.fingerprint:\n",
        "Reconciliation says `balanced` although the two ledgers have different mails.",
        (f"{_COMPARED}::test_fields_that_differ_are_named",),
    ),
    Mutation(
        "history-may-be-deleted",
        "P7",
        _STATEMENTS,
        "BEFORE UPDATE OR DELETE ON history\n",
        "BEFORE UPDATE ON history\n",
        "The owner of the database may delete history.",
        (f"{_MIGRATIONS}::test_history_refuses_every_change_even_from_its_owner[mail-DELETE FROM history]",),
    ),
    Mutation(
        "processes-may-change-history",
        "P7",
        _STATEMENTS,
        'f"GRANT SELECT, INSERT ON {table} TO {role}" for table in append_only',
        'f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {role}" for table in append_only',
        "The role of the processes has the right to change and delete history.",
        (f"{_MIGRATIONS}::test_the_runtime_role_has_no_right_to_change_history[mail-DELETE FROM history]",),
        fixed=True,
    ),
    Mutation(
        "months-may-be-emptied",
        "P7",
        _STATEMENTS,
        "                    IF parent = 'history' THEN\n",
        "                    IF parent = 'none' THEN\n",
        "The owner of the database may empty the history of a month.",
        (f"{_MIGRATIONS}::test_history_refuses_every_change_even_from_its_owner[mail-TRUNCATE history]",),
    ),
    Mutation(
        "young-months-are-dropped",
        "P7",
        _STATEMENTS,
        "            IF keep_months IS NULL OR keep_months < {_LEAST_MONTHS_KEPT} THEN\n",
        "            IF keep_months IS NULL OR keep_months < 0 THEN\n",
        "A process may have last month's history dropped.",
        (
            "tests/integration/retention/test_refusals.py::test_the_function_itself_refuses_unsafe_arguments[mail-history-1]",
        ),
    ),
)
