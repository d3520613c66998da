"""The HTTP client for the mail service: its URL, signup's key, and no proxy in between."""

import ssl
from urllib.parse import urlsplit

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
        # Each set of certificates takes 1 MB, and plain HTTP needs none: httpx follows no redirect by itself.
        verify=True if urlsplit(settings.mail_url).scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        trust_env=False,  # the mail service is internal: no proxy from the environment
    )
