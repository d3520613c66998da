"""What signup's OpenAPI document teaches. Imported when the document is first asked for."""

from shared.http.document import operators
from shared.http.document.teaching import Teaching
from shared.webhooks import document as webhooks

from .events import EVENTS
from .examples import EXAMPLES
from .links import LINKS
from .parameters import PARAMETERS

_DESCRIPTION = """\
Signs people up, verifies their addresses, and performs every effect that is owed to them.

A 2xx answer means that the user and every effect owed to them are durable, in one commit. Mails, webhooks and
statistics follow from there, each with its own retries.

- **Keys**: `Authorization: Bearer cf_…`. Each call names the scope that it needs. Some calls take none.
- **Errors** are problems (RFC 9457): `GET /problems/{slug}` explains each `type`.
- **Retries** are safe with the header `Idempotency-Key`, where a call takes it.
- **Lists** go on with `cursor`, newest first unless a call says otherwise. Different filters combine with AND, a
  repeated one with OR.
- **Times** are RFC 3339 in UTC, IDs are UUIDv7.
"""

_TAGS = {
    "Signups": "Sign a person up, with or without a key, and the challenge that a form may need.",
    "Verifications": "Verify an address with the token of its mail, and ask for another mail.",
    "Users": "Read and erase users. Scopes `users:read` and `users:erase`.",
    "Imports": "Load many users from a file, and steer it while it runs. Scope `users:import`.",
    "Statistics": "Signups and verifications a day. Scope `stats:read`.",
    "Webhooks": webhooks.TAG,
    "Outbox": "The effects owed to users, row by row, for operators. Scopes `audit:read` and `audit:operate`.",
    "Reconciliation": "Compare signup's own records with the mail service's, for operators. Scopes `audit:read` and "
    "`audit:operate`.",
    **operators.TAGS,
}


def teach() -> Teaching:
    return Teaching(
        source="services.signup",
        description=_DESCRIPTION,
        tags=_TAGS,
        parameters={**operators.PARAMETERS, **webhooks.PARAMETERS, **PARAMETERS},
        examples=EXAMPLES,
        links={**operators.LINKS, **webhooks.LINKS, **LINKS},
        events=EVENTS,
    )
