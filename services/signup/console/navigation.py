"""The pages in the order of the data, and which of them an operator sees."""

from collections.abc import Sequence
from dataclasses import dataclass

from .mail_api import MailAccess
from .mount import PATH
from .operators import Operator


@dataclass(frozen=True)
class Entry:
    """`needs`: scopes at signup. `mail_needs`: scopes at the mail service; while it is silent they are not known."""

    title: str
    path: str
    needs: Sequence[str] = ()
    mail_needs: Sequence[str] = ()
    # Enough when the operator has either half.
    either: bool = False


ENTRIES = (
    Entry("Overview", PATH, needs=("audit:read",)),
    Entry("People", f"{PATH}/people", needs=("audit:read", "users:read")),
    Entry("Mails", f"{PATH}/mails", mail_needs=("mails:read",)),
    Entry("Uncertain", f"{PATH}/uncertain", mail_needs=("mails:read",)),
    Entry("Suppressions", f"{PATH}/suppressions", mail_needs=("mails:operate",)),
    Entry("Outbox", f"{PATH}/outbox", needs=("audit:read",)),
    Entry("Imports", f"{PATH}/imports", needs=("users:import",)),
    Entry("Reconciliation", f"{PATH}/reconciliation", needs=("audit:read",)),
    Entry("Checks and alerts", f"{PATH}/checks", needs=("audit:read",)),
    Entry("Gateways", f"{PATH}/gateways", mail_needs=("mails:read",)),
    Entry("Webhooks", f"{PATH}/webhooks", needs=("webhooks:manage",), mail_needs=("webhooks:manage",), either=True),
    Entry("History", f"{PATH}/history", needs=("audit:read",)),
)


@dataclass(frozen=True)
class Shown:
    title: str
    path: str
    is_current: bool


def is_open_to(entry: Entry, operator: Operator, access: MailAccess) -> bool:
    """A page of the mail service is shown while that is silent: the page says so."""
    own, mail = operator.may(entry.needs), bool(access.fault) or access.may(*entry.mail_needs)
    if entry.either:
        return own or access.may(*entry.mail_needs)
    return own and (mail or not entry.mail_needs)


def entries(operator: Operator, access: MailAccess, path: str) -> list[Shown]:
    return [
        Shown(entry.title, entry.path, path == entry.path or (entry.path != PATH and path.startswith(f"{entry.path}/")))
        for entry in ENTRIES
        if is_open_to(entry, operator, access)
    ]
