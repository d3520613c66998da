"""P4 and P5: one mail for each request ID, and what `sent` means."""

from ..mutation import Mutation

_ACCEPT = "services/mail/intake/queries.py"
_OUTCOMES = "services/mail/delivery/smtp_outcomes.py"
_CONNECTION = "services/mail/delivery/gateways/smtp_connection.py"
_LEDGER = "migrations/mail/versions/0001_first_schema.py"
_INTAKE = "tests/integration/mail/test_intake.py"
_DELIVERY = "tests/integration/mail_delivery"
_LOST_MAILS_TESTS = "tests/integration/mail/test_lost_mails.py"
_EVERY_STEP_GONE_WRONG_TESTS = f"{_DELIVERY}/test_every_step_gone_wrong.py"
_CRASHES_AND_LEASES_TESTS = f"{_DELIVERY}/test_crashes_and_leases.py"

MUTATIONS = (
    Mutation(
        "no-unique-request-id",
        "P4",
        _LEDGER,
        "        UNIQUE (client, request_id),\n        CHECK ((state IN",
        "        CHECK ((state IN",
        "The database accepts two mails with one request ID.",
        ("tests/migrations/test_migrations.py::test_a_request_id_is_unique_within_its_client_and_free_in_another",),
        fixed=True,
    ),
    Mutation(
        "other-content-is-a-replay",
        "P4",
        "services/mail/intake/accept.py",
        '    if item.fingerprint and mail["fingerprint"] == item.fingerprint.hex():\n',
        "    if item.fingerprint:\n",
        "Another mail under a known request ID is answered as if it had been accepted.",
        (f"{_INTAKE}::test_other_content_under_a_known_request_id_is_refused_naming_the_fields[change1-pointers1]",),
    ),
    Mutation(
        "each-try-has-its-own-request-id",
        "P4",
        "services/signup/outbox/effects/mail.py",
        '        "request_id": str(entry.id),\n',
        '        "request_id": str(uuid7()),\n',
        "Each try of an outbox row asks for a mail of its own.",
        ("tests/unit/signup/test_mail_effect.py::test_every_retry_sends_the_same_bytes_even_after_a_key_rotation",),
        fixed=True,
    ),
    Mutation(
        "deleted-mail-is-new-again",
        "P4",
        _ACCEPT,
        "    ) IS NULL\n    -- One order for all requests",
        "    ) IS NULL OR true\n    -- One order for all requests",
        "The request ID of a sent mail whose row was deleted is free again, so the mail is sent twice.",
        (f"{_LOST_MAILS_TESTS}::test_a_mail_whose_row_was_deleted_is_restored_when_it_is_requested_again[sent]",),
    ),
    Mutation(
        "any-digit-is-yes",
        "P5",
        _OUTCOMES,
        "    if accepts(step, code) and step is Step.BODY:\n",
        "    if code // 100 in {2, 3} and step is Step.BODY:\n",
        "A mail becomes `sent` after a reply that is no 250.",
        ("tests/unit/mail_delivery/test_gateway_words.py::test_after_the_dot_only_a_verdict_is_certain",),
    ),
    Mutation(
        "fail-in-doubt",
        "P5",
        "services/mail/delivery/retry_policy.py",
        "    if mail.in_doubt:\n",
        '    if mail.in_doubt and mail.on_uncertain == "hold":\n',
        "A mail that may have left becomes `failed` when a later try is refused.",
        ("tests/unit/mail_delivery/test_delivery_decisions.py::test_an_outcome_leads_to_its_state",),
        fixed=True,
    ),
    Mutation(
        "silence-after-the-dot-is-a-fault",
        "P5",
        _CONNECTION,
        '            return interrupted(Step.BODY, "timed out")\n',
        '            return interrupted(Step.DATA, "timed out")\n',
        "A mail whose reply did not come in time counts as never offered, although its body has left.",
        (f"{_EVERY_STEP_GONE_WRONG_TESTS}::test_each_step_gone_wrong_leaves_the_right_record[dot-one by one]",),
    ),
    Mutation(
        "early-250-counts",
        "P5",
        _CONNECTION,
        "        if verdict.outcome is Outcome.ACCEPTED and self._conversation.has_unsent:\n",
        "        if verdict.outcome is Outcome.REFUSED and self._conversation.has_unsent:\n",
        "A 250 that comes before the mail has left makes it `sent`.",
        (f"{_DELIVERY}/test_smtp_connections.py::test_a_250_before_the_whole_mail_has_left_is_unknown",),
    ),
    Mutation(
        "forget-transmitting",
        "P5",
        "services/mail/delivery/rescue.py",
        "    if phase == Phase.TRANSMITTING:\n",
        "    if phase == Phase.ENDED:\n",
        "The rescue sends a mail again whose body had begun to leave.",
        (f"{_CRASHES_AND_LEASES_TESTS}::test_a_worker_lost_after_the_body_started_leaves_the_outcome_unknown",),
    ),
    Mutation(
        "sent-without-a-time",
        "P5",
        _LEDGER,
        "        CHECK ((state IN ('sent', 'bounced')) = (sent_at IS NOT NULL)),\n",
        "",
        "The database accepts a mail that is `sent` and was never sent.",
        ("tests/migrations/test_migrations.py::test_the_ledger_refuses[sent without a time]",),
    ),
)
