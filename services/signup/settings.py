"""The signup service's settings, each an environment variable. They are read when a process starts."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from shared.contract.addresses import parse_address
from shared.process.settings import (
    ServiceSettings,
    database_url,
    http_url,
    months_kept,
    refuse_if_short,
    refuse_one_port_twice,
)
from shared.worker.partitions import PartitionRetention

_DAY_SECONDS = 86_400


class Settings(ServiceSettings):
    signup_database_url: str = Field(
        "", description="Signup database, owner role: migrations and `keys`, and the processes when it is alone"
    )
    signup_runtime_database_url: str = Field("", description="Signup database, runtime role: for the processes")
    signup_host: str = Field("127.0.0.1", description="Address the API listens on")
    signup_port: int = Field(8001, ge=1, le=65535, description="Port the API listens on")
    signup_operations_host: str = Field(
        "127.0.0.1", description="Address the operations port listens on; strangers must not reach it"
    )
    signup_operations_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port that serves metrics and health with every check, without a key; 0: none. "
        "`make run` and Compose use 8011",
    )
    signup_public_url: str = Field(
        "http://127.0.0.1:8001", description="Public base URL of the API: links in mails start with it"
    )
    signup_token_keys: str = Field(
        "", description="Secrets that sign verification links, comma-separated; the first signs, all verify"
    )
    signup_token_ttl_seconds: int = Field(259_200, ge=1, description="Lifetime of a verification link")
    signup_mail_cooldown_seconds: int = Field(
        60,
        ge=0,
        description="Pause until the next mail to the same address; it doubles with each mail that a caller without a "
        "key caused, up to a day, until the address is verified",
    )
    signup_mails_per_address_per_day: int = Field(
        5, ge=0, description="Most mails a day to one address that callers without a key cause; 0: no limit"
    )
    signup_mails_per_hour: int = Field(
        0,
        ge=0,
        description="Mails an hour to all addresses together that callers without a key cause; those above it wait; "
        "0: no limit",
    )
    signup_product_name: str = Field("", max_length=100, description="Name of your product, in mails and on pages")
    signup_product_address: str = Field(
        "", max_length=300, description="Your postal address, at the end of each mail; many countries ask for it"
    )
    signup_support_email: str = Field("", description="Address that mails name for questions")
    signup_logo_url: str = Field(
        "", description="`https://` URL of your logo, for mails and pages; shown 40 pixels high at most"
    )
    signup_accent_color: str = Field(
        "", pattern="^(#[0-9a-fA-F]{6})?$", description="Colour of buttons in mails and on pages, like `#0b57d0`"
    )
    signup_return_urls: str = Field(
        "",
        description="Pages of your product that a person may be led back to after verifying, comma-separated; what "
        "lies below one is allowed, too, as `return_to` of a signup; the first is where others are led",
    )
    signup_pages: str = Field(
        "", description="Folder whose pages, style sheet and texts lie over those of the service (docs/pages/README.md)"
    )
    mail_url: str = Field("http://127.0.0.1:8002", description="Base URL of the mail service")
    mail_api_key: str = Field("", description="Signup's key at the mail service, for its client `signup`")
    mail_timeout_seconds: float = Field(10, gt=0, description="Longest wait for an answer from the mail service")
    signup_lease_seconds: float = Field(
        15, gt=0, description="Lease of a claimed outbox row; must be longer than MAIL_TIMEOUT_SECONDS"
    )
    signup_relay_batch: int = Field(200, ge=1, le=500, description="Outbox rows in one request to the mail service")
    signup_poll_seconds: float = Field(1.0, gt=0, description="Interval between polls of the outbox, besides wake-ups")
    signup_give_up_seconds: int = Field(
        604_800, ge=60, description="An effect that fails for this long becomes a dead letter and waits for an operator"
    )
    signup_settled_months: int = Field(
        13,
        ge=0,
        le=1200,
        description="Whole months of settled outbox rows kept besides the current one, for links, timelines and "
        "reconciliation; older ones are dropped; 0: kept forever",
    )
    signup_effects: str = Field(
        "stats,cache", description="Effects owed besides mails and webhooks, comma-separated; `none` for none"
    )
    signup_cache_ttl_seconds: int = Field(86_400, ge=1, description="Lifetime of a cached profile in Valkey")
    signup_webhook_timeout_seconds: float = Field(15, gt=0, le=60, description="Longest wait for a subscriber's answer")
    signup_webhook_allow_private: bool = Field(
        default=False, description="Allow webhooks to private and loopback addresses, and over plain http"
    )
    signup_pending_days: int = Field(
        30, ge=0, le=3650, description="Remove pending accounts after this many days without signup or mail; 0: never"
    )
    signup_limit_per_ip: str = Field(
        "60/minute", description="Limit for anonymous writes per client address; `off` for no limit"
    )
    signup_limit_per_network: str = Field(
        "300/minute",
        description="Limit for anonymous writes per client network (/24 of IPv4, /48 of IPv6), beside the one per "
        "address; `off` for none",
    )
    signup_challenge: str = Field(
        "off",
        pattern="^(off|under_attack|always)$",
        description="Whether callers without a key must solve a challenge (`GET /v1/challenges`) to sign up or to have "
        "a mail sent again; `under_attack`: while there are too many signups",
    )
    signup_challenge_per_minute: int = Field(
        60,
        ge=1,
        description="Anonymous requests a minute to one process above which `under_attack` asks for a challenge, until "
        "5 minutes pass without",
    )
    signup_trusted_proxies: str = Field(
        "", description="Networks of trusted proxies (X-Forwarded-For), comma-separated CIDRs"
    )
    import_max_bytes: int = Field(1_073_741_824, ge=1, description="Largest body of an import")
    reconcile_lag_seconds: float = Field(
        60, ge=0, description="Reconciliation compares records at least this old; younger ones may be in transit"
    )
    reconcile_stuck_seconds: float = Field(3600, gt=0, description="A mail overdue for this long counts as stuck")

    console: str = Field("on", pattern="^(on|off)$", description="Whether `/console` is there (docs/console.md)")
    console_session_seconds: int = Field(
        28_800, ge=60, le=604_800, description="An operator signs in to the console again after this long"
    )
    console_proxy_header: str = Field(
        "",
        pattern="^([A-Za-z][A-Za-z0-9-]*)?$",
        description="Header in which a proxy that does single sign-on names the operator, from SIGNUP_TRUSTED_PROXIES "
        "only; empty: operators sign in with a key",
        examples=["X-Forwarded-User"],
    )
    console_api_key: str = Field(
        "", description="Key of this service for operators whom the proxy names: its scopes are what they may do"
    )
    console_mail_api_key: str = Field(
        "", description="The same of the mail service, with the scope `operators:name` among others"
    )

    signup_check_severity: str = Field(
        "", description="`name=red|warning` for sanity checks and alerts of signup, comma-separated"
    )

    @field_validator("signup_database_url", "signup_runtime_database_url")
    @classmethod
    def _validate_database_url(cls, url: str) -> str:
        return database_url(url)

    @field_validator("mail_url", "signup_public_url")
    @classmethod
    def _validate_http_url(cls, url: str) -> str:
        return http_url(url)

    @field_validator("signup_logo_url")
    @classmethod
    def _validate_logo_url(cls, url: str) -> str:
        if url and not url.startswith("https://"):
            raise ValueError("must be a URL that begins with https://: mail programs load no other pictures")
        return http_url(url) if url else url

    @field_validator("signup_return_urls")
    @classmethod
    def _validate_return_urls(cls, urls: str) -> str:
        for url in urls.split(","):
            if url.strip():
                http_url(url.strip())
        return urls

    @field_validator("signup_support_email")
    @classmethod
    def _validate_support_email(cls, address: str) -> str:
        return parse_address(address).email if address else address

    @field_validator("mail_api_key", "console_api_key", "console_mail_api_key")
    @classmethod
    def _validate_api_key(cls, key: str) -> str:
        if not (key.isascii() and key.isprintable()):
            raise ValueError("must be a key as `keys create` prints it: letters, digits and underscores")
        return key

    @field_validator("signup_settled_months")
    @classmethod
    def _validate_settled_months(cls, months: int) -> int:
        return months_kept(months)

    @model_validator(mode="after")
    def _validate_ports(self) -> Self:
        refuse_one_port_twice("SIGNUP", self.signup_port, self.signup_operations_port)
        return self

    @model_validator(mode="after")
    def _validate_console(self) -> Self:
        if self.console_proxy_header and not (self.signup_trusted_proxies and self.console_api_key):
            raise ValueError("CONSOLE_PROXY_HEADER needs SIGNUP_TRUSTED_PROXIES and CONSOLE_API_KEY")
        return self

    @model_validator(mode="after")
    def _validate_retention(self) -> Self:
        # Reconciliation may request a mail again until its effect is given up.
        needs = {
            f"SIGNUP_GIVE_UP_SECONDS={self.signup_give_up_seconds}": self.signup_give_up_seconds,
            f"RECONCILE_LAG_SECONDS={self.reconcile_lag_seconds:g}": self.reconcile_lag_seconds,
            f"RECONCILE_STUCK_SECONDS={self.reconcile_stuck_seconds:g}": self.reconcile_stuck_seconds,
        }
        for setting, months in (
            ("SIGNUP_SETTLED_MONTHS", self.signup_settled_months),
            ("HISTORY_MONTHS", self.history_months),
        ):
            for needed_by, seconds in needs.items():
                refuse_if_short(setting, months, needed_by, seconds)
        # Verification looks its link up in the settled rows; pending cleanup looks there for mails to the account.
        settled_needs = {
            f"SIGNUP_TOKEN_TTL_SECONDS={self.signup_token_ttl_seconds}": self.signup_token_ttl_seconds,
            f"SIGNUP_PENDING_DAYS={self.signup_pending_days}": self.signup_pending_days * _DAY_SECONDS,
        }
        for needed_by, seconds in settled_needs.items():
            refuse_if_short("SIGNUP_SETTLED_MONTHS", self.signup_settled_months, needed_by, seconds)
        return self

    @property
    def kept(self) -> tuple[PartitionRetention, ...]:
        """The tables in month partitions, with the months kept of each."""
        return (
            PartitionRetention("history", self.history_months),
            PartitionRetention("outbox_settled", self.signup_settled_months),
        )

    @property
    def process_database_url(self) -> str:
        """The URL that the API and the worker connect with."""
        return self.signup_runtime_database_url or self.signup_database_url
