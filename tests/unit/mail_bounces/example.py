"""An invented notice of one mail system, and what must be read in it."""

from dataclasses import dataclass

from services.mail.bounces.notice_parser import Kind
from tests.support.notices import in_free_words


@dataclass(frozen=True)
class Example:
    system: str
    words: str
    kind: str = Kind.FAILED
    status: str | None = None
    code: int | None = None
    sender: str = "Mail Delivery System <MAILER-DAEMON@mx.example>"
    subject: str = "Undelivered mail"
    fields: str = ""

    def raw(self) -> bytes:
        return in_free_words(self.words, sender=self.sender, subject=self.subject, fields=self.fields)
