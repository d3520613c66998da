"""Whose product it is: its name and looks in mails and on pages, and the pages of it that a person may be led back to.

Each is a setting, and may be empty: then mails and pages name no product.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from shared.process.settings import http_url

from .settings import Settings

# What follows an allowed URL in one that leads to the same place or below it.
_BELOW = ("/", "?", "#")


@dataclass(frozen=True, slots=True)
class Brand:
    product_name: str = ""
    product_address: str = ""
    support_email: str = ""
    logo_url: str = ""
    accent_color: str = ""
    return_urls: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> "Brand":
        return cls(
            settings.signup_product_name,
            settings.signup_product_address,
            settings.signup_support_email,
            settings.signup_logo_url,
            settings.signup_accent_color,
            tuple(url.strip() for url in settings.signup_return_urls.split(",") if url.strip()),
        )

    def variables(self) -> dict[str, str]:
        """What mails are told of it: variables of the templates (`layout.toml` of the mail service)."""
        values = {
            "product_name": self.product_name,
            "product_address": self.product_address,
            "support_email": self.support_email,
            "logo_url": self.logo_url,
            "accent_color": self.accent_color,
        }
        return {name: value for name, value in values.items() if value}

    def allows(self, url: str) -> bool:
        """Whether a person may be led to `url`: one of the allowed URLs, or a page below it.

        Compared as text after the parts were looked at, so that no other host can hide behind an allowed beginning.
        """
        try:
            http_url(url)
            parts = urlsplit(url)
        except ValueError:
            return False
        if parts.username is not None or not url.isascii() or not url.isprintable() or any(c in url for c in ' \\"<>'):
            return False
        if any(part in (".", "..") for part in parts.path.split("/")):
            return False
        return any(url == allowed or url.startswith(_below(allowed)) for allowed in self.return_urls)

    def way_back(self, return_to: str | None) -> str | None:
        """Where a page leads back to: where the signup said, as long as that is allowed, or the first allowed URL."""
        if return_to is not None and self.allows(return_to):
            return return_to
        return self.return_urls[0] if self.return_urls else None


def _below(allowed: str) -> tuple[str, ...]:
    return (allowed,) if allowed.endswith("/") else tuple(allowed + follows for follows in _BELOW)
