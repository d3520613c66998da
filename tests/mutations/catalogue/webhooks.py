"""Webhooks of both services: one ID, the same bytes, in order, none missed."""

from ..mutation import Mutation

_QUERIES = "services/mail/webhooks/queries.py"
_ORDER = "tests/integration/mail_webhooks/test_order.py"
_WEBHOOKS_TESTS = "tests/integration/signup_effects/test_webhooks.py"
_WEBHOOK_LOG_TESTS = "tests/integration/signup_effects/test_webhook_log.py"

MUTATIONS = (
    Mutation(
        "retry-with-other-bytes",
        "webhooks",
        "services/signup/outbox/effects/webhook.py",
        'entry.payload["event"], entry.created_at, data,',
        'entry.payload["event"], entry.claimed_at, data,',
        "A repeated call has the time of the try in its body, so a subscriber takes it for another event.",
        (f"{_WEBHOOKS_TESTS}::test_a_failed_call_is_retried_with_the_same_bytes_under_the_same_id[500]",),
    ),
    Mutation(
        "later-events-overtake",
        "webhooks",
        "services/signup/outbox/effects/webhook.py",
        "            waits = waits or entry.id in early\n",
        "            waits = waits or outcomes.get(entry.id) is not None\n",
        "A subscriber gets `verified` before `signed up`, while the first waits for its retry.",
        (f"{_WEBHOOK_LOG_TESTS}::test_a_subscriber_gets_the_events_of_one_user_in_their_order",),
    ),
    Mutation(
        "mail-events-overtake",
        "webhooks",
        _QUERIES,
        "            LIMIT 1\n        ) IS NULL\n        ORDER BY d.due_at",
        "            LIMIT 1\n        ) IS DISTINCT FROM false\n        ORDER BY d.due_at",
        "A subscriber gets `mail.sent` before the `mail.deferred` that it has not taken yet.",
        (f"{_ORDER}::test_a_later_event_waits_for_an_earlier_one_of_its_mail_and_for_no_other",),
    ),
    Mutation(
        "feed-past-open-transactions",
        "webhooks",
        _QUERIES,
        "        WHERE (h.position, h.id) > (feed.position, feed.entry_id) AND h.position < feed_horizon()\n",
        "        WHERE (h.position, h.id) > (feed.position, feed.entry_id)\n",
        "An event that commits late lies behind the feed's cursor and is never told.",
        (f"{_ORDER}::test_no_event_is_missed_that_a_longer_transaction_wrote_before_one_that_was_told",),
    ),
    Mutation(
        "delivery-settled-by-id",
        "webhooks",
        _QUERIES,
        "IS NOT FALSE AND d.id = v.id AND d.lease = $1\n    RETURNING d.*, v.outcome",
        "IS NOT FALSE AND d.id = v.id\n    RETURNING d.*, v.outcome",
        "A slow worker settles a delivery that another one has claimed since.",
        (f"{_ORDER}::test_a_delivery_that_another_worker_has_claimed_is_neither_settled_nor_put_back",),
    ),
)
