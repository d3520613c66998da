"""The one way in which signup reaches the mail service: its address, its own key, and no proxy in between."""

import httpx

from .settings import Settings


def connect(settings: Settings, *, timeout_seconds: float | None = None) -> httpx.AsyncClient:
    """A client that keeps its connections; nothing is connected before it is used. The caller closes it.

    `timeout_seconds` is for each step of a call, MAIL_TIMEOUT_SECONDS unless said.
    """
    return httpx.AsyncClient(
        base_url=settings.mail_url,
        headers={"Authorization": f"Bearer {settings.mail_api_key}", "Content-Type": "application/json"},
        timeout=settings.mail_timeout_seconds if timeout_seconds is None else timeout_seconds,
        trust_env=False,  # a neighbour is not reached through a proxy
    )
