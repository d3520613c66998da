"""The class, the codes and the reason in words that a mail system wrote freely. Pure.

A code is found, never concluded: "user unknown" without 5.1.1 gives no enhanced code, and so suppresses no address.
"""

import re

from ..delivery.smtp_outcomes import suppresses_address
from .notice import Kind, Report, kept
from .vocabulary import DELAY, FAILURE, FINAL, FULL_OR_MOVED, REASON, WARNING, plain

_SUCCESS = re.compile(
    r"\((?:success|relay)\)|\bsuccessful(?:ly)? (?:mail )?deliver|^(?:delivered|relayed|zugestellt):", re.IGNORECASE
)
_ENHANCED_CODE = re.compile(r"(?<![\w./])([45])\.[0-7]\.\d{1,3}(?!\.?\d)")
# RFC 5321, and what servers invent beside it.
_CODE = r"(4[2-7]\d|5[0-7]\d)"
# In order of trust: both codes together; a reply after words that announce one; a line that begins as a reply.
_CODES = (
    re.compile(rf"(?<![\w.]){_CODE}[ :,-]{{1,3}}(?:{_CODE}[ -])?[#(]?(?=[45]\.[0-7]\.\d)"),
    re.compile(
        r"(?:\b(?:said|reasons?|returned|errors?|response|reply|message|status|code|with|was|error_code|responsecode)"
        r"|<<<|>>>|\])[^\w\n]{0,6}" + _CODE + r"(?=[\s:,;\-)\]'\"]|$)",
        re.IGNORECASE,
    ),
    re.compile(rf"^[ \t\"'<(\[#*-]{{0,8}}{_CODE}(?=[ \t]*[-: ][^\d\n]|[ \t]*$)", re.MULTILINE),
    re.compile(rf"[>:(\[\uff1a][ \t]{{0,4}}[\"'(\[]?{_CODE}[ -](?=\D)"),
)
# A line that only rules off what follows.
_RULER = re.compile(r"-{2,}[^\n]*\Z")


def tells_of_failure(text: str) -> bool:
    """Whether a text says in any of these languages that a mail did not arrive, or not yet."""
    return any(pattern.search(text) for pattern in (FAILURE, WARNING, DELAY))


def spares_address(text: str | None) -> bool:
    """Whether the words speak of a full mailbox or an address that changed."""
    return bool(text and FULL_OR_MOVED.search(plain(text)))


def kind_of(subject: str, words: str) -> Kind:
    """What a notice of a mail system reports. It has failed unless the words say that the system goes on trying."""
    if _SUCCESS.search(subject):
        return Kind.DELIVERED
    both = f"{subject}\n\n{words}"
    if WARNING.search(both) or (DELAY.search(both) and not FINAL.search(both)):
        return Kind.DELAYED
    return Kind.FAILED


def report_in(kind: Kind, words: str, reader: str) -> Report:
    """The codes, and the paragraph that has them. Without any, the paragraph with a reason, else all."""
    status, status_at = _enhanced_code(kind, words)
    code, code_at = _reply_code(kind, words)
    at = code_at if code is not None else status_at
    return Report(kind, status, code, kept(_paragraph(words, at)), reader)


def _enhanced_code(kind: Kind, words: str) -> tuple[str | None, int]:
    """The first specific code and its place. If the words give several, one that suppresses no address."""
    found = {
        match[0]: match.start()
        for match in reversed([*_ENHANCED_CODE.finditer(words)])
        if kind is Kind.FAILED or match[1] == "4"
    }
    if not found:
        return None, -1
    first_to_last = sorted(found, key=found.__getitem__)
    specific = [code for code in first_to_last if code[1:] != ".0.0"] or first_to_last
    # 5.5.1 follows a refused recipient: "no valid recipients".
    others = [code for code in specific if not suppresses_address(code) and not code.startswith("5.5.")]
    chosen = others[0] if others else specific[0]
    return chosen, found[chosen]


def _reply_code(kind: Kind, words: str) -> tuple[int | None, int]:
    for pattern in _CODES:
        for match in pattern.finditer(words):
            if kind is Kind.FAILED or match[1].startswith("4"):
                return int(match[1]), match.start(1)
    return None, -1


def _paragraph(words: str, at: int) -> str:
    """The paragraph at a place. -1: the last one that names a reason, else all."""
    paragraphs = words.split("\n\n")
    if at < 0:
        return next((each for each in reversed(paragraphs) if REASON.search(each) and not _RULER.match(each)), words)
    for paragraph in paragraphs:
        if at <= len(paragraph):
            return paragraph
        at -= len(paragraph) + 2
    return words
