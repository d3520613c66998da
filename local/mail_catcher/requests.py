"""What the API and the pages read from a request. Problems are answers with a status."""

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from .store import Store, StoredMail


def whole_number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    try:
        return max(0, int(text)) if text else default
    except ValueError:
        raise HTTPException(400, f"{name} is not a whole number") from None


async def open_mail(store: Store, request: Request, *, read: bool = False) -> StoredMail:
    """The mail that the path names, marked as read if `read`."""
    found = await run_in_threadpool(store.open, request.path_params["mail_id"], read=read)
    if found is None:
        raise HTTPException(404, "no such message")
    return found
