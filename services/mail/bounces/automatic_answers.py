"""Tells what no mail system reports: automatic answers, challenges, and what people forward or reply. Pure.

Both kinds come to the envelope sender, as bounces do, and quote our mail. RFC 3834 answers and Postfix' bounces carry
the same `Auto-Submitted: auto-replied`, so the field alone says nothing.
"""

from .own_words import Letter
from .vocabulary import ANSWERING_SUBJECT, CHALLENGE, CHALLENGING_SUBJECT, REPLYING_SUBJECT, any_of

# The sender of notices: the name, or what stands before the `@`.
_SYSTEM_SENDER = any_of(
    r"mail(?:er)?[-_. ]?daemon|\bmdaemon|post[-_. ]?master|mail[-_. ]?deliver|delivery[-_. ]?(?:sub)?system|<>|^\s*$",
    r"mail(?:er)?[-_. ]?(?:system|server|admin)|system[-_. ]?admin|undeliver|bounce|\bndr\b"
    r"|smtp[-_. ]?(?:gateway|server)",
    r"interscan|message[-_. ]router|microsoft ?exchange",
)
_DAEMON_SENDER = any_of(r"mail(?:er)?[-_. ]?daemon|\bmdaemon|mail[-_. ]?delivery[-_. ]?(?:sub)?system")
# Fields of programs that answer for people, and values by which they say so.
_ANSWERING_FIELDS = (
    *("X-Autoreply", "X-Autorespond", "X-Autoresponder", "Autoresponder", "X-Auto-Reply", "X-Mail-Autoreply"),
    *("X-AutoReply-From", "X-Auto-Reply-From", "X-Vacation", "X-MS-Exchange-Inbox-Rules-Loop"),
    *("X-TMDA-Fingerprint", "X-Challenge", "X-Boxbe-Challenge"),
)
_ANSWERING_PRECEDENCE = any_of(r"auto[-_]?reply")
_AUTO_REPLIED = any_of(r"auto-?(?:replied|notified)")
_VACATION = any_of(r"vacation|auto-?reply|out-?of-?office")
_PERSONS_PROGRAM = any_of(
    r"apple mail|iphone mail|ipad mail|microsoft (?:office )?outlook|outlook express|thunderbird|mozilla|evolution|k-9",
    r"mutt\b|roundcube|squirrelmail|webmail|claws|kmail|eudora|the bat|airmail|mailbird|em client|lotus notes release",
)


def is_from_a_system(letter: Letter) -> bool:
    """Whether the sender is a mail system by its name, or the message has the field of Exim's bounces."""
    return bool(_SYSTEM_SENDER.search(letter.sender) or letter.header("X-Failed-Recipients"))


def is_from_no_person(letter: Letter) -> bool:
    """Whether the sender's name is one that no person has. `postmaster` is read by people, who take holidays."""
    return bool(_DAEMON_SENDER.search(letter.sender))


def has_no_return_path(letter: Letter) -> bool:
    """RFC 5321 section 4.5.5: what must not be answered, so that two systems do not answer each other for ever."""
    path = letter.header("Return-Path")
    return path == "<>" or bool(_DAEMON_SENDER.search(path))


def calls_itself_an_answer(letter: Letter) -> bool:
    """RFC 3834. Bounces are answers in its sense, too."""
    return bool(_AUTO_REPLIED.match(letter.header("Auto-Submitted")))


def is_answer(letter: Letter, *, is_known: bool) -> bool:
    """Whether a program answers in the place of a person, or asks the sender to prove to be one.

    `is_known` says that the words are those of a known mail system: then only a sure mark counts.
    """
    if letter.header("X-Failed-Recipients"):
        return False
    if any(letter.header(name) for name in _ANSWERING_FIELDS):
        return True
    if any(_ANSWERING_PRECEDENCE.search(letter.header(name)) for name in ("Precedence", "X-Precedence")):
        return True
    if ANSWERING_SUBJECT.match(letter.subject) or _VACATION.search(letter.header("Auto-Submitted")):
        return True
    if is_known or is_from_a_system(letter):
        return False
    return (
        calls_itself_an_answer(letter)
        or bool(CHALLENGE.search(letter.words))
        or bool(CHALLENGING_SUBJECT.search(letter.subject))
    )


def is_from_a_person(letter: Letter) -> bool:
    """Whether a person replies, or forwards what a system wrote."""
    if is_from_a_system(letter):
        return False
    program = f"{letter.header('User-Agent')} {letter.header('X-Mailer')}"
    return bool(REPLYING_SUBJECT.match(letter.subject) or _PERSONS_PROGRAM.search(program))
