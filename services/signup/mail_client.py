"""The HTTP client for the mail service: its URL, signup's key, and no proxy in between."""

import httpx

from .settings import Settings


def connect(settings: Settings, *, timeout_seconds: float | None = None) -> httpx.AsyncClient:
    """A client that keeps its connections and opens them on first use. The caller closes it.

    `timeout_seconds` limits each step of a call; default MAIL_TIMEOUT_SECONDS.
    """
    return httpx.AsyncClient(
        base_url=settings.mail_url,
        headers={"Authorization": f"Bearer {settings.mail_api_key}", "Content-Type": "application/json"},
        timeout=settings.mail_timeout_seconds if timeout_seconds is None else timeout_seconds,
        trust_env=False,  # the mail service is internal: no proxy from the environment
    )
