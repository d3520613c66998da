"""What a notice says in its own words: its text without the mail that it returns, and without quotes. Pure."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import Message
from html import unescape

from .bounded_message import decoded_field, field, text_of
from .vocabulary import any_of, plain

# A notice is a page of text.
WORDS_CHARACTERS = 32 << 10
# RFC 5322 section 2.1.1 allows 998 in a line. Notices wrap theirs, and some patterns need quadratic time for a line.
LINE_CHARACTERS = 1000
# Less plain text than this says only that there is HTML beside it.
_A_SENTENCE = 100

# Where the notice ends and the mail that it returns begins.
_RULED = any_of(
    r"copy of (?:the|your) (?:original )?(?:message|mail)|original (?:message|mail|e-?mail)|below (?:this"
    r"|the next) line",
    r"message (?:text|headers?|body) follows?|(?:returned|unsent|failed|bounced) (?:message|mail)|header of the",
    r"forwarded message|weitergeleitete|non-delivered information|message d'origine|mensaje original",
).pattern
_RETURNED_MAIL = re.compile(
    r"^[ \t]*(?:"
    + any_of(
        rf"[-=_*|#>+ ]{{2,}}+[^\n]{{0,60}}\b(?:{_RULED})",
        r"(?:original|returned|bounced|unsent) (?:message|mail|e-mail) ?"
        r"(?:headers?|text|follows|attached|details|body)? ?[:.]?[ \t]*$",
        r"original message (?:headers?|follows)|message headers? follows?|included is a copy|a copy of the original",
        r"below is a copy|begin forwarded message|on [^\n]{5,100} wrote:|-{2,} ?(?:ursprüngliche|message d)",
        r"(?:received|return-path|dkim-signature|x-received):[ \t]?(?!>)",
        r"content-type:[ \t]*(?:message/rfc822|text/rfc822-headers)",
    ).pattern
    + ")",
    re.IGNORECASE | re.MULTILINE,
)
# What people quote. `>>>` is a line of an SMTP conversation.
_QUOTED_LINE = re.compile(r"^[ \t]*>(?!>>).*$", re.MULTILINE)
_HIDDEN = re.compile(r"<(?=/?(?:style|script)\b)", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_BREAK = re.compile(r"<(?:br|/?p|/?div|/?tr|/?li|/?h\d|/?table)\b[^<>]*>", re.IGNORECASE)
_EMPTY_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")


@dataclass(frozen=True, slots=True)
class Letter:
    """A message as its reader sees it."""

    message: Message
    sender: str  # the From field
    subject: str
    words: str

    def header(self, name: str) -> str:
        return field(self.message, name)


def letter_of(message: Message, parts: list[Message]) -> Letter:
    text = _text(message, parts)
    end = next((match.start() for match in _RETURNED_MAIL.finditer(text) if text[: match.start()].strip()), None)
    words = _QUOTED_LINE.sub("", text[:end])
    return Letter(
        message,
        decoded_field(message, "From"),
        plain(decoded_field(message, "Subject")),
        _EMPTY_LINES.sub("\n\n", words).strip()[:WORDS_CHARACTERS],
    )


def _text(message: Message, parts: list[Message]) -> str:
    """The plain text before the quoted mail; if there is next to none, the HTML; else what stands in no part."""
    texts = list(_texts(parts, "text/plain"))
    if sum(map(len, texts)) < _A_SENTENCE:
        texts += [_without_tags(text) for text in _texts(parts, "text/html")]
    if not texts:
        payload = message.get_payload()
        texts = [payload if isinstance(payload, str) else "", str(message.preamble or "")]
    text = plain("\n\n".join(texts))[: 2 * WORDS_CHARACTERS].replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(line[:LINE_CHARACTERS].rstrip() for line in text.split("\n"))


def _texts(parts: Iterable[Message], content_type: str) -> Iterator[str]:
    has_text = False
    for part in parts:
        if part.get_content_type() == content_type and part.get_content_disposition() != "attachment":
            text = text_of(part)
            if text.strip():
                has_text = True
                yield text
        elif has_text and (
            part.get_content_maintype() == "message" or part.get_content_type() == "text/rfc822-headers"
        ):
            return


def _without_tags(html: str) -> str:
    """The text of HTML. Each step reads the text once, also when tags are not closed."""
    shown = "<".join(piece for piece in _HIDDEN.split(html) if not piece.lower().startswith(("style", "script")))
    return unescape(_TAG.sub(" ", _BREAK.sub("\n", shown)))
