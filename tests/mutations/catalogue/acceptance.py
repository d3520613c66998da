"""P1 to P3: what a yes from signup promises, what it needs, and that effects fail alone."""

from ..mutation import Mutation

_SIGN_UP = "services/signup/accounts/queries.py"
_LIMIT = "services/signup/http/rate_limit.py"
_OUTBOX = "services/signup/outbox/queries.py"
_TESTS = "tests/integration/signup"
_EFFECTS = "tests/integration/signup_effects"
_DISPATCHER_TESTS = f"{_EFFECTS}/test_dispatcher.py"

MUTATIONS = (
    Mutation(
        "signup-owes-no-mail",
        "P1",
        _SIGN_UP,
        "    FROM person JOIN asked USING (email_key) WHERE mail_owed\n    UNION ALL",
        "    FROM person JOIN asked USING (email_key) WHERE mail_owed AND NOT created\n    UNION ALL",
        "The statement that writes the user leaves the owed mail to a later step.",
        (f"{_TESTS}/test_sign_up.py::test_a_signup_commits_the_user_the_mail_and_the_history_together",),
        fixed=True,
    ),
    Mutation(
        "verification-owes-no-welcome",
        "P1",
        _SIGN_UP,
        "    FROM verified\n    RETURNING id\n",
        "    FROM verified WHERE false\n    RETURNING id\n",
        "The user is verified in one commit, and the owed welcome is not in it.",
        (f"{_EFFECTS}/test_neighbours.py::test_a_verification_owes_its_effects_in_the_same_commit_and_only_once",),
    ),
    Mutation(
        "key-and-signup-in-two-commits",
        "P1",
        "services/signup/accounts/sign_up.py",
        "    async with pool.acquire() as connection, connection.transaction():\n",
        "    async with pool.acquire() as connection:\n",
        "The idempotency key is taken in a commit of its own: a signup that then fails can never be repeated.",
        (f"{_TESTS}/test_idempotency.py::test_a_refused_request_does_not_use_up_its_key",),
    ),
    Mutation(
        "limit-fails-closed",
        "P2",
        _LIMIT,
        '                _log.warning("limits_open_without_valkey", error=describe(error))\n            return\n',
        '                _log.warning("limits_open_without_valkey", error=describe(error))\n'
        '            raise RateLimited("The limit cannot be read.") from None\n',
        "Without Valkey the rate limit refuses every signup.",
        (f"{_EFFECTS}/test_limits.py::test_without_valkey_all_requests_pass_and_valkey_is_not_called_again",),
    ),
    Mutation(
        "silent-valkey-is-an-error",
        "P2",
        _LIMIT,
        "        except (RedisError, OSError) as error:\n            was_closed",
        "        except RedisError as error:\n            was_closed",
        "A Valkey that accepts connections and does not answer fails the signup.",
        (f"{_EFFECTS}/test_limits.py::test_a_valkey_that_does_not_answer_delays_no_request_for_long",),
        fixed=True,
    ),
    Mutation(
        "one-effect-without-room-stops-all",
        "P3",
        "services/signup/outbox/dispatcher.py",
        "        if not asked:\n            return False\n",
        "        if asked.keys() != rooms.keys():\n            return False\n",
        "While one effect hangs, nothing is claimed for the others.",
        (f"{_DISPATCHER_TESTS}::test_an_effect_that_hangs_holds_nobody_up_and_takes_no_more_rows_than_its_own",),
        fixed=True,
    ),
    Mutation(
        "effects-share-a-claim",
        "P3",
        _OUTBOX,
        "        WHERE outbox.effect = asked.effect AND outbox.due_at >= asked.due_from",
        "        WHERE outbox.due_at >= asked.due_from",
        "A relay takes rows of other effects, so these succeed and fail with its own.",
        (f"{_TESTS}/test_relay.py::test_rows_of_another_effect_are_left_to_its_own_relay",),
    ),
    Mutation(
        "replayed-row-counts-again",
        "P3",
        _OUTBOX,
        "    WHERE NOT EXISTS (SELECT FROM outbox_settled AS before"
        " WHERE before.id = gone.id AND before.outcome = 'delivered')\n",
        "",
        "A row of the statistics that is put back into the outbox is counted twice.",
        (f"{_EFFECTS}/test_stats.py::test_a_counted_row_put_back_into_the_outbox_is_not_counted_again",),
    ),
    Mutation(
        "one-bad-mail-fails-its-batch",
        "P3",
        "services/signup/outbox/effects/mail.py",
        "    return Refused(_describe(result.problem))\n",
        "    raise PeerFaultError(_describe(result.problem))\n",
        "The refusal of one mail puts back every row of its batch.",
        (f"{_TESTS}/test_relay.py::test_a_batch_is_one_request_and_one_bad_mail_spoils_only_itself",),
    ),
)
