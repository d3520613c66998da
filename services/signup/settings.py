"""The signup service's settings, each an environment variable. Read by `load()` when a process starts."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from shared.process.settings import ServiceSettings, months_kept, refuse_if_short
from shared.worker.partitions import PartitionRetention

_DAY_SECONDS = 86_400


class Settings(ServiceSettings):
    signup_database_url: str = Field(
        "", description="The signup database, as the owner role: migrations and `keys`; processes too when alone"
    )
    signup_runtime_database_url: str = Field("", description="The signup database, as the runtime role: the processes")
    signup_host: str = Field("127.0.0.1", description="Where the API listens")
    signup_port: int = Field(8001, ge=1, le=65535, description="Where the API listens")
    signup_public_url: str = Field(
        "http://127.0.0.1:8001", description="How people reach the API: the links in mails start with it"
    )
    signup_token_keys: str = Field(
        "", description="Secrets that sign verification links, comma-separated; the first signs, all verify"
    )
    signup_token_ttl_seconds: int = Field(259_200, ge=1, description="How long a verification link lives")
    signup_mail_cooldown_seconds: int = Field(
        60, ge=0, description="At most one mail to an address in this time, when an anonymous caller can cause it"
    )
    mail_url: str = Field("http://127.0.0.1:8002", description="Where the mail service is")
    mail_api_key: str = Field("", description="Signup's own key at the mail service, of its client `signup`")
    mail_timeout_seconds: float = Field(10, gt=0, description="Longest wait for an answer of the mail service")
    signup_lease_seconds: float = Field(
        15, gt=0, description="An outbox row claimed this long ago is free again; longer than MAIL_TIMEOUT_SECONDS"
    )
    signup_relay_batch: int = Field(200, ge=1, le=500, description="Outbox rows in one request to the mail service")
    signup_poll_seconds: float = Field(1.0, gt=0, description="The outbox is looked at this often, woken or not")
    signup_give_up_seconds: int = Field(
        604_800, ge=60, description="An effect that has been refused for this long is dead and waits for an operator"
    )
    signup_settled_months: int = Field(
        13,
        ge=0,
        le=1200,
        description="Whole months of settled outbox rows that are kept before this one, for links, timelines and "
        "reconciliation; older ones are dropped; 0: for ever",
    )
    signup_effects: str = Field(
        "stats,cache", description="Effects owed beside mails and webhooks, comma-separated; `none` for none"
    )
    signup_cache_ttl_seconds: int = Field(86_400, ge=1, description="How long a profile stays in Valkey")
    signup_webhook_timeout_seconds: float = Field(15, gt=0, le=60, description="Longest wait for a webhook subscriber")
    signup_webhook_allow_private: bool = Field(
        default=False, description="Webhooks may go to private and loopback addresses, and over plain http"
    )
    signup_pending_days: int = Field(
        30, ge=0, le=3650, description="A pending account is removed after this many days of silence; 0: never"
    )
    signup_limit_per_ip: str = Field(
        "60/minute", description="Anonymous requests that write, per client address; `off` for no limit"
    )
    signup_trusted_proxies: str = Field(
        "", description="Networks of proxies whose X-Forwarded-For is believed, comma-separated CIDRs"
    )
    import_max_bytes: int = Field(1_073_741_824, ge=1, description="The longest body of an import")
    reconcile_lag_seconds: float = Field(
        60, ge=0, description="A reconciliation looks at what is at least this old: the rest is still on its way"
    )
    reconcile_stuck_seconds: float = Field(
        3600, gt=0, description="A mail that has waited for this long after its time is called stuck"
    )

    signup_check_severity: str = Field(
        "", description="`name=red|warning` for sanity checks and alerts of signup, comma-separated"
    )

    @field_validator("signup_settled_months")
    @classmethod
    def _settled_rows_are_not_cut_short(cls, months: int) -> int:
        return months_kept(months)

    @model_validator(mode="after")
    def _retention_outlives_retries(self) -> Self:
        # Reconciliation asks for a mail again for as long as an effect lives.
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
        # A link is looked up in the settled rows, and a pending account is removed when they tell of no mail to it.
        settled_needs = {
            f"SIGNUP_TOKEN_TTL_SECONDS={self.signup_token_ttl_seconds}": self.signup_token_ttl_seconds,
            f"SIGNUP_PENDING_DAYS={self.signup_pending_days}": self.signup_pending_days * _DAY_SECONDS,
        }
        for needed_by, seconds in settled_needs.items():
            refuse_if_short("SIGNUP_SETTLED_MONTHS", self.signup_settled_months, needed_by, seconds)
        return self

    @property
    def kept(self) -> tuple[PartitionRetention, ...]:
        """The tables in month partitions, and how much of each is kept."""
        return (
            PartitionRetention("history", self.history_months),
            PartitionRetention("outbox_settled", self.signup_settled_months),
        )

    @property
    def process_database_url(self) -> str:
        """What the API and the worker connect with."""
        return self.signup_runtime_database_url or self.signup_database_url


def load() -> Settings:
    """Settings from the environment. Raises pydantic's ValidationError naming what is wrong."""
    return Settings()
