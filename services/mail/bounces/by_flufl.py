"""Asks flufl.bounce, which knows the notices of two dozen mail systems. What it reads is bounded before.

The library looks for addresses; which mail a notice is about does not depend on them. Some of its patterns need
quadratic or cubic time for a line, so it gets short lines, and none that holds many addresses.
"""

import logging
from email.message import Message

from .bounded_message import own_parts, text_of
from .notice import Kind

_CHARACTERS = 32 << 10
_LINE_CHARACTERS = 200
_MAX_ADDRESSES_IN_LINE = 5


def kind_by_flufl(message: Message) -> Kind | None:
    """What the library takes the message for; None: for no notice, or it failed. It changes the message."""
    from flufl.bounce import all_failures  # noqa: PLC0415 - few processes read notices

    # It logs each detector, and what a detector choked on with a traceback.
    logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL + 1)
    _shorten(message)
    try:
        temporary, permanent = all_failures(message)
    except Exception:  # noqa: BLE001 - a sender chose what it read; it may raise anything
        return None
    if permanent:
        return Kind.FAILED
    return Kind.DELAYED if temporary else None


def _shorten(message: Message) -> None:
    """Leave of each part what the library can read quickly, decoded; of quoted messages nothing."""
    left = _CHARACTERS
    for part in own_parts(message):
        is_text = part.get_content_maintype() == "text" and part.get_content_type() != "text/rfc822-headers"
        text = "\n".join(_short_lines(text_of(part)[:left])) if is_text else ""
        left -= len(text)
        del part["Content-Transfer-Encoding"]
        part.set_payload(text)


def _short_lines(text: str) -> list[str]:
    return [line[:_LINE_CHARACTERS] for line in text.split("\n") if line.count("@") <= _MAX_ADDRESSES_IN_LINE]
