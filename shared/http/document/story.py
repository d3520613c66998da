"""The story that the examples of both documents tell, so that an ID in one answer is found again in the next.

Ada Lovelace signs up on 26 June 2026 at 09:20 UTC. Her verification mail leaves 61 ms later, and three minutes later
she uses its link. `ROW` is the row of signup's outbox, and so the request ID of the mail.
"""

NAME = "Ada Lovelace"
EMAIL = "ada@example.com"

USER = "019f033a-9a67-792b-bb42-1992ef490f3b"
ROW = "019f033a-9a67-755a-b34d-3b5a80a61ec9"
MAIL = "019f033a-9a79-7619-837b-4201cde5b199"
MESSAGE_ID = f"<{MAIL}@mail.example.com>"
IMPORT = "019f0371-8880-740b-8498-3aca3503fe3b"
RUN = "019f03a8-7700-7dde-aded-8ad8e44933f3"
FINDING = "019f03a8-7ae8-76e9-8986-17b8fd987a28"
SUBSCRIBER = "019efe14-3e00-7d91-8e63-dd440ee0c31c"
ALERT = "019f03a9-fda0-78ae-84b8-12b783f102ad"
NOTICE = "019f03ab-8440-7dfb-94fb-b9e7d095209e"
INVOICE = "019f03c3-ee40-7756-90e1-5d48cf3ea64d"

SIGNED_UP_ENTRY = "019f033a-9a67-7def-84f1-e0e23a510a59"
ACCEPTED_ENTRY = "019f033a-9a79-73e2-af4a-eb6507767f0f"
SENT_ENTRY = "019f033a-9aa4-73bf-8393-c72a5718247d"
VERIFIED_ENTRY = "019f033d-6e38-76f1-8acc-9fee020df12f"

SIGNED_UP_AT = "2026-06-26T09:20:00.103000Z"
ACCEPTED_AT = "2026-06-26T09:20:00.121000Z"
SENT_AT = "2026-06-26T09:20:00.164000Z"
VERIFIED_AT = "2026-06-26T09:23:05.400000Z"
LATER = "2026-06-26T11:20:00.000000Z"

CORRELATION_ID = "4f1c2d8e"
CURSOR = "AZ8DOppnd1qzTTtagKYeyQ"
FINGERPRINT = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"

SIGNED_UP = {
    "id": SIGNED_UP_ENTRY,
    "at": SIGNED_UP_AT,
    "kind": "user.signed_up",
    "subject": USER,
    "related": [ROW],
    "actor": "anonymous",
    "correlation_id": CORRELATION_ID,
    "detail": {"status": "pending", "source": "web", "mail_owed": True},
}
SENT = {
    "id": SENT_ENTRY,
    "at": SENT_AT,
    "kind": "mail.sent",
    "subject": MAIL,
    "related": [ROW],
    "actor": "mail-worker",
    "correlation_id": CORRELATION_ID,
    "detail": {"attempt": 1, "gateway": "primary", "code": 250},
}
