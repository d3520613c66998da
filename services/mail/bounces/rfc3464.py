"""Reads delivery status notifications: RFC 3464, and RFC 6533 for internationalized mail. Pure.

Reporters differ from the RFC in small ways. A field name with a space before its colon, an empty line inside a field
and an encoded part are read all the same.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from email.message import Message
from typing import Any

from .bounded_message import PART_CHARACTERS, decode
from .notice import Kind, Report, kept

_TYPES = frozenset(["message/delivery-status", "message/global-delivery-status"])
# A mail has one recipient. Notices about a mail that was forwarded to more people than this are not of interest.
_MAX_GROUPS = 200
_OF_A_RECIPIENT = frozenset(["action", "status", "final-recipient", "original-recipient"])
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9-]{2,40})[ \t]*:[ \t]*(.*)")
_EMPTY_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_ENHANCED = re.compile(r"(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?![\d.])")
_REPLY_CODE = re.compile(r"[245]\d\d(?!\d)")
_REFUSAL_CODE = re.compile(r"\b[45]\d\d\b")
_REPLY_CHARACTERS = 40

# RFC 3464 section 2.3.3. Relayed and expanded: the next system accepted the mail and sends no reports.
_ACTIONS: Mapping[str, Kind] = {
    "failed": Kind.FAILED,
    "error": Kind.FAILED,  # OpenSMTPD
    "delayed": Kind.DELAYED,
    "delivered": Kind.DELIVERED,
    "relayed": Kind.DELIVERED,
    "expanded": Kind.DELIVERED,
}
_OF_CLASS: Mapping[str, Kind] = {"2": Kind.DELIVERED, "4": Kind.DELAYED, "5": Kind.FAILED}

Group = Mapping[str, str]  # the fields of a group, by their names in lower case


def groups(parts: Iterable[Message]) -> list[Group]:
    """The groups of fields in all delivery statuses: about the message, then about each recipient."""
    found = [group for part in parts if part.get_content_type() in _TYPES for group in groups_in(_status_text(part))]
    return found[:_MAX_GROUPS]


def groups_in(text: str) -> Iterator[Group]:
    """The groups of fields in a text. What is no field is passed over."""
    torn: str | None = None
    for block in _EMPTY_LINES.split(text, _MAX_GROUPS)[:_MAX_GROUPS]:
        fields = _fields(block)
        if fields.keys() & _OF_A_RECIPIENT:
            yield {"diagnostic-code": torn, **fields} if torn else fields
            torn = None
        elif fields:
            # An empty line may have torn the group of a recipient apart: its other fields follow.
            torn = fields.get("diagnostic-code", torn)
            yield fields


def report(found: Iterable[Group]) -> Report | None:
    """The report about the mail. A mail has one recipient, so several groups mean that it was forwarded to several
    addresses. Then it has failed only if it reached none of them.
    """
    reports = [read for group in found if (read := _recipient_report(group))]
    for kind in (Kind.DELIVERED, Kind.DELAYED, Kind.FAILED):
        for each in reports:
            if each.kind is kind:
                return each
    return None


def names_recipient(found: Iterable[Group]) -> bool:
    return any(group.keys() & _OF_A_RECIPIENT for group in found)


def _status_text(part: Message) -> str:
    payload: Any = part.get_payload()
    if part.is_multipart():
        blocks = [f"{_header_lines(block)}\n{block.get_payload()}" for block in payload[:_MAX_GROUPS]]
        text = "\n\n".join(blocks)
    else:
        text = str(payload)
    if str(part.get("Content-Transfer-Encoding", "")).strip().lower() in {"base64", "quoted-printable"}:
        encoded = Message()
        encoded["Content-Transfer-Encoding"] = str(part["Content-Transfer-Encoding"]).strip()
        encoded.set_payload(text.encode("ascii", "replace").decode().strip())
        content = encoded.get_payload(decode=True)
        text = decode(content, None) if isinstance(content, bytes) else text
    return text[:PART_CHARACTERS].replace("\r\n", "\n").replace("\r", "\n")


def _header_lines(block: Message) -> str:
    return "\n".join(f"{name}: {value}" for name, value in block.items())


def _fields(block: str) -> dict[str, str]:
    lines: dict[str, list[str]] = {}
    name = ""
    for line in block.split("\n"):
        if line[:1] in {" ", "\t"} and name:
            lines[name].append(line.strip())
        elif match := _FIELD.match(line):
            name = match[1].lower()
            lines.setdefault(name, []).append(match[2].strip())
        else:
            name = ""
    return {name: " ".join(values) for name, values in lines.items()}


def _recipient_report(group: Group) -> Report | None:
    status = _ENHANCED.search(group.get("status", ""))
    diagnostic_type, typed, text = group.get("diagnostic-code", "").partition(";")
    diagnostic = kept(text if typed else diagnostic_type) or ""
    is_smtp = diagnostic_type.strip().lower() == "smtp" if typed else diagnostic[:1].isdigit()
    # Some reporters omit the action although it is required. The class of the status or of the reply says the same.
    action = group.get("action", "").partition(" ")[0].lower()
    by_reply = diagnostic[:1] if is_smtp and not action and names_recipient([group]) else ""
    code_class = status[0][0] if status else by_reply
    kind = _ACTIONS.get(action) or _OF_CLASS.get(code_class)
    if kind is None:
        return None
    return Report(
        kind,
        _most_specific(status[0] if status else None, diagnostic if is_smtp else ""),
        _reply_code(kind, diagnostic) if is_smtp else None,
        diagnostic or None,
        "RFC 3464",
    )


def _reply_code(kind: Kind, reply: str) -> int | None:
    code = _REPLY_CODE.match(reply)
    if code and code[0].startswith("2") and kind is not Kind.DELIVERED:
        # "220 host 421 4.2.1 later": the greeting stands before the refusal.
        code = _REFUSAL_CODE.search(reply[:_REPLY_CHARACTERS])
    return int(code[0]) if code else None


def _most_specific(status: str | None, reply: str) -> str | None:
    """The status, or the enhanced code in the server's reply if the status is missing or names only a class."""
    in_reply = _ENHANCED.search(reply[:_REPLY_CHARACTERS])
    if in_reply and (status is None or (status.endswith(".0.0") and status[0] == in_reply[0][0])):
        return in_reply[0]
    return status
