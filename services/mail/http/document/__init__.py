"""What the mail service's OpenAPI document teaches. Imported when the document is first asked for."""

from shared.http.document import operators
from shared.http.document.teaching import Teaching
from shared.webhooks import document as webhooks

from .events import EVENTS
from .examples import EXAMPLES
from .links import LINKS
from .parameters import PARAMETERS

_DESCRIPTION = """\
Sends one mail per request ID, for ever, and reports what was sent.

A request ID names one mail of a client: the same request again is answered with the mail as it stands, and sends
nothing. So a retry is always safe. `sent` means that a gateway said 250; what cannot be known is `uncertain`.

- **Keys**: `Authorization: Bearer cf_…`. Each call names the scope that it needs. A client sees and changes its own
  mails only, unless its key has `mails:all`.
- **Errors** are problems (RFC 9457): `GET /problems/{slug}` explains each `type`.
- **Lists** go on with `cursor`, newest first unless a call says otherwise. Different filters combine with AND, a
  repeated one with OR.
- **Addresses** have a Unicode or an A-label domain, are answered with the Unicode domain, and filters match both.
- **Times** are RFC 3339 in UTC, IDs are UUIDv7.
"""

_TAGS = {
    "Mails": "Request mails, and read what was sent. Scopes `mails:send` and `mails:read`.",
    "Mail operations": "Change single mails or many: cancel, retry, resolve, restore. Scope `mails:operate`.",
    "Templates": "The templates that mails are made from, and previews. Scope `mails:read`.",
    "Suppressions": "Addresses that are not mailed. Scope `mails:operate`.",
    "Bounces": "Notices about sent mails: from the bounce mailbox, and from mail providers.",
    "Erasures": "Remove a person's data. Scope `mails:operate`.",
    "Gateways": "The mail servers that mails are handed to. Scope `mails:read`.",
    "Webhooks": webhooks.TAG,
    **operators.TAGS,
}


def teach() -> Teaching:
    return Teaching(
        source="services.mail",
        description=_DESCRIPTION,
        tags=_TAGS,
        parameters={**operators.PARAMETERS, **webhooks.PARAMETERS, **PARAMETERS},
        examples=EXAMPLES,
        links={**operators.LINKS, **webhooks.LINKS, **LINKS},
        events=EVENTS,
    )
