"""Reads the attachments of a mail: their bytes, as they were sent in."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from shared.contract import problems
from shared.http import openapi
from shared.http.routing import StrictRoute

from ..errors import AttachmentGone
from ..ledger.attachments import StoredAttachment, find_attachment, read_pieces
from .app_state import state_of
from .ledger import MailId, MayRead

router = APIRouter(prefix="/v1/mails", route_class=StrictRoute, tags=["Mails"])

_BYTES = {
    "description": "The bytes, with their media type",
    "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
}


@router.get(
    "/{mail_id:uuid}/attachments/{n}",
    response_class=Response,
    responses=openapi.keyed(problems.NotFound, AttachmentGone) | {200: _BYTES},
)
async def get_attachment(
    mail_id: MailId,
    n: Annotated[int, Path(description="Its place in `attachments`, from 0")],
    request: Request,
    principal: MayRead,
) -> Response:
    """The bytes of one attachment, until they are wiped with the mail's content."""
    database = state_of(request).database
    attachment = await find_attachment(database, principal, mail_id, n)
    return StreamingResponse(read_pieces(database, attachment), headers=_headers(attachment))


def _headers(attachment: StoredAttachment) -> dict[str, str]:
    """A browser saves the file and never shows it: it is foreign content on this service's origin."""
    return {
        "Content-Type": attachment.content_type,
        "Content-Length": str(attachment.size),
        # RFC 6266 section 4.3, RFC 8187.
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(attachment.filename, safe='')}",
        "X-Content-Type-Options": "nosniff",
    }
