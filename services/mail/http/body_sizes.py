"""How large bodies may be: those that request mails have a limit and room for attachments, notices quote such mails."""

from collections.abc import Awaitable, Callable
from typing import Any

from shared.contract.problems import PayloadTooLarge
from shared.http.routing import StrictRequest

from ..intake.attachments import encoded_size
from .app_state import state_of

_MEBIBYTE = 1 << 20
MAIL_BYTES = _MEBIBYTE
BATCH_BYTES = 16 * _MEBIBYTE
NOTICE_BYTES = 10 * _MEBIBYTE
_LIMITS = {"/v1/mails": MAIL_BYTES, "/v1/mails/batch": BATCH_BYTES}


def limit_of(path: str) -> int:
    """Of a body without attachments."""
    return _LIMITS.get(path, _MEBIBYTE)


def with_attachments(attachments_max_bytes: int) -> dict[str, int]:
    """The most that a body with attachments can have, by path, or a notice about such a mail. It is read no further."""
    mails = {path: limit + encoded_size(attachments_max_bytes) for path, limit in _LIMITS.items()}
    return mails | {"/v1/bounces": NOTICE_BYTES}


def sizes_checked(limit: int, mails_of: Callable[[Any], Any]) -> Callable[[StrictRequest], Awaitable[None]]:
    """The check of a body before its validation; `mails_of` gives the list of mails in it.

    Raises:
        PayloadTooLarge: the attachments have too many bytes, or the body is over its limit without their content.
    """

    async def check(request: StrictRequest) -> None:
        size = len(await request.body())
        most = state_of(request).attachments_max_bytes
        if size <= min(limit, encoded_size(most)):
            return
        try:
            body = await request.json()
        except ValueError:
            body = None  # the validation says what is wrong
        contents = _contents(mails_of(body)) if body else []
        if sum(len(text) // 4 * 3 - text.count("=", -2) for text in contents) > most:
            raise PayloadTooLarge(f"The attachments of a call may have at most {most} bytes together.")
        if size - sum(map(len, contents)) > limit:
            raise PayloadTooLarge(f"Without the content of attachments, this body may be at most {limit} bytes.")

    return check


def _contents(mails: Any) -> list[str]:
    """The texts of all attachments in a body that is not validated yet."""
    attachments = [
        attachment
        for mail in (mails if isinstance(mails, list) else [])
        if isinstance(mail, dict) and isinstance(mail.get("attachments"), list)
        for attachment in mail["attachments"]
    ]
    contents = [attachment.get("content") for attachment in attachments if isinstance(attachment, dict)]
    return [content for content in contents if isinstance(content, str)]
