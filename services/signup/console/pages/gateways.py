"""The gateways as the mail worker last reported them."""

from starlette.responses import Response

from ..visit import Visit


async def show(visit: Visit) -> Response:
    return visit.page("gateways.html", found=await visit.mail_half("/v1/gateways"))
