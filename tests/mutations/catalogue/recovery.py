"""P8 and P9: crashes lose nothing and double nothing, and outages cost no attempt."""

from ..mutation import Mutation

_OUTBOX = "services/signup/outbox/queries.py"
_DELIVERY = "services/mail/delivery"
_RELAY_TESTS = "tests/integration/signup/test_relay.py"
_CRASHES = "tests/integration/mail_delivery/test_crashes_and_leases.py"
_RECORDER = "tests/integration/mail_delivery/test_recorder.py"
_WIRE = "tests/unit/mail_delivery/test_what_leaves_first.py"
_FAILOVER = "tests/integration/mail_delivery/test_failover.py"
_CLAIM_FLOOR_TESTS = "tests/unit/shared/test_claim_floor.py"

MUTATIONS = (
    Mutation(
        "settle-by-id",
        "P8",
        _OUTBOX,
        "    DELETE FROM outbox WHERE id = ANY ($2::uuid[]) AND lease = $1\n",
        "    DELETE FROM outbox WHERE id = ANY ($2::uuid[]) AND $1::uuid IS NOT NULL\n",
        "A slow worker settles a row that another one has claimed since.",
        (f"{_RELAY_TESTS}::test_a_row_leased_by_another_worker_is_not_settled[Done]",),
    ),
    Mutation(
        "retry-by-id",
        "P8",
        _OUTBOX,
        "    FROM verdict WHERE outbox.id = verdict.id AND outbox.id = ANY ($2::uuid[]) AND outbox.lease = $1\n"
        "    RETURNING outbox.id\n",
        "    FROM verdict WHERE outbox.id = verdict.id AND $1::uuid IS NOT NULL\n    RETURNING outbox.id\n",
        "A slow worker puts a row back that another one is working on.",
        (f"{_RELAY_TESTS}::test_a_row_leased_by_another_worker_is_not_settled[TryLater]",),
    ),
    Mutation(
        "leased-rows-stay-leased",
        "P8",
        _OUTBOX,
        "outbox.due_at <= now()\n        ORDER BY outbox.due_at LIMIT asked.room FOR UPDATE",
        "outbox.due_at <= now() AND outbox.lease IS NULL\n        ORDER BY outbox.due_at LIMIT asked.room FOR UPDATE",
        "A row whose worker was killed is never claimed again.",
        (f"{_RELAY_TESTS}::test_a_worker_that_lost_its_lease_changes_nothing_and_counts_it",),
    ),
    Mutation(
        "no-full-look",
        "P8",
        "shared/worker/claim_floor.py",
        "        if now - self.looked_full >= FULL_EVERY_SECONDS or self.claimed_until == BEGINNING:\n",
        "        if self.claimed_until == BEGINNING:\n",
        "A row that was put back in time lies before the floor, and no claim ever sees it.",
        (f"{_CLAIM_FLOOR_TESTS}::test_a_look_overlaps_the_one_before_it_but_does_not_go_back_to_the_beginning",),
        fixed=True,
    ),
    Mutation(
        "wake-up-only",
        "P8",
        "shared/worker/loops.py",
        "            await _wait(wake, poll_seconds() if callable(poll_seconds) else poll_seconds)\n",
        "            await wake.wait()\n",
        "A lost wake-up leaves rows behind until the next one comes.",
        ("tests/unit/shared/test_schedule.py::test_a_loop_that_nothing_wakes_runs_again",),
    ),
    Mutation(
        "outcome-by-id",
        "P8",
        f"{_DELIVERY}/queries.py",
        "    WHERE q.mail_id = r.mail_id AND q.mail_id = ANY($1::uuid[]) AND q.lease = r.lease AND r.due_in IS NULL\n",
        "    WHERE q.mail_id = r.mail_id AND r.due_in IS NULL\n",
        "A worker whose mail was rescued writes its outcome over what the rescuer has found.",
        (f"{_CRASHES}::test_a_foreign_lease_settles_nothing",),
    ),
    Mutation(
        "transmit-without-the-lease",
        "P8",
        f"{_DELIVERY}/queries.py",
        "WHERE (SELECT q.lease FROM queue q WHERE q.mail_id = r.mail_id LIMIT 1) = r.lease\nON CONFLICT",
        "ON CONFLICT",
        "A worker that lost its lease sends the body that another one sends, too.",
        (f"{_CRASHES}::test_a_body_never_leaves_once_the_lease_is_lost",),
    ),
    Mutation(
        "two-workers-on-one-attempt",
        "P8",
        f"{_DELIVERY}/queries.py",
        "ON CONFLICT (mail_id, n) DO NOTHING\nRETURNING lease\n",
        "ON CONFLICT (mail_id, n) DO UPDATE SET phase = 'transmitting', gateway = excluded.gateway,\n"
        "    transmitting_at = now()\nRETURNING lease\n",
        "A body leaves although a rescuer has just put its lease on the attempt.",
        (f"{_CRASHES}::test_a_worker_whose_mail_is_being_taken_over_before_it_offered_it_sends_no_body",),
    ),
    Mutation(
        "commit-after-the-body",
        "P8",
        f"{_DELIVERY}/gateways/smtp_connection.py",
        "        if not await about_to_transmit():\n"
        "            self.drop()  # after 354 only a drop can refuse\n"
        '            return own_fault("nothing sent: the transmission could not be recorded")\n'
        "        try:\n"
        "            self._conversation.send(stuffed)\n"
        "        except ConnectionLost:\n"
        "            self.drop()\n"
        '            return interrupted(Step.DATA, "connection lost")\n',
        "        self._conversation.send(stuffed)\n"
        "        if not await about_to_transmit():\n"
        "            self.drop()\n"
        '            return own_fault("nothing sent: the transmission could not be recorded")\n',
        "A worker killed in between leaves a mail that has left and is on record as waiting: it is sent twice.",
        (f"{_WIRE}::test_the_record_comes_before_the_body_and_without_it_none_leaves",),
    ),
    Mutation(
        "outcome-is-written-once",
        "P8",
        f"{_DELIVERY}/recorder.py",
        "                if not self._keep_trying:\n",
        "                if failures:\n",
        "A restart of the database loses the outcome of mails that the gateway has accepted.",
        (f"{_RECORDER}::test_an_outcome_is_written_however_the_database_fails_meanwhile",),
    ),
    Mutation(
        "next-gateway-in-doubt",
        "P8",
        f"{_DELIVERY}/gateways/failover.py",
        "                if verdict is not None:\n                    return route.name, verdict\n",
        '                if verdict is not None and verdict.outcome != "unknown":\n'
        "                    return route.name, verdict\n",
        "A mail whose reply was lost is handed over once more.",
        (f"{_FAILOVER}::test_no_other_gateway_is_tried_when_the_mail_may_have_left",),
    ),
    Mutation(
        "a-fault-counts",
        "P9",
        f"{_DELIVERY}/smtp_outcomes.py",
        "        return self is not Outcome.GATEWAY_FAULT\n",
        "        return self is not Outcome.UNKNOWN\n",
        "A gateway that is down uses up the attempts of every mail.",
        (f"{_FAILOVER}::test_an_outage_of_all_gateways_costs_no_attempt_and_stops_the_claims",),
    ),
    Mutation(
        "an-outage-counts",
        "P9",
        _OUTBOX,
        "    UPDATE outbox SET state = 'pending', lease = NULL, due_at = now(), last_error = $3\n",
        "    UPDATE outbox SET state = 'pending', lease = NULL, due_at = now(), last_error = $3,"
        " attempts = attempts + 1\n",
        "While the mail service is down, each look counts an attempt for every row.",
        (f"{_RELAY_TESTS}::test_an_outage_costs_no_attempt_and_nothing_is_sent_twice_after_it[503]",),
    ),
    Mutation(
        "an-answer-of-500-is-a-verdict",
        "P9",
        "services/signup/outbox/effects/mail.py",
        "            answer = await self._post(requests)\n",
        "            try:\n"
        "                answer = await self._post(requests)\n"
        "            except PeerFaultError as fault:\n"
        "                return {entry.id: TryLater(str(fault)) for entry in entries}\n",
        "An outage of the mail service counts as its verdict on each mail, and expired rows die of it.",
        (f"{_RELAY_TESTS}::test_an_outage_costs_no_attempt_and_nothing_is_sent_twice_after_it[503]",),
    ),
    Mutation(
        "a-row-that-waits-counts",
        "P9",
        "services/signup/outbox/retry_policy.py",
        "            return Retry(delay, error, counted=False)\n",
        "            return Retry(delay, error)\n",
        "A row that was never tried, because its subscriber is down, loses an attempt each time it is due.",
        ("tests/unit/signup/test_entry.py::test_a_row_whose_own_peer_is_down_waits_and_loses_no_attempt",),
        fixed=True,
    ),
)
