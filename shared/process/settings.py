"""What both services' settings have in common. Every setting is an environment variable, listed in the README."""

from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, RedisDsn, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ..audit.operator_mail import DirectGateway
from ..contract.addresses import parse_address

# What the databases keep whatever they are told (migrations/retention.py): more than any sanity check looks back at.
_LEAST_MONTHS = 2


class ServiceSettings(BaseSettings):
    """Read when a process starts, never at import. A field `signup_port` is the variable `SIGNUP_PORT`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    redis_url: RedisDsn = Field(
        RedisDsn("redis://127.0.0.1:6379/0"),
        description="Valkey or Redis: arq's cron and jobs, nothing that matters",
    )
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Least severe log line")
    log_personal_data: bool = Field(
        default=False,
        description="Addresses, names, keys and tokens in log lines as they are: on your own machine only",
    )
    wakeup: str = Field(
        "listen",
        pattern="^(listen|poll)$",
        description="`poll` behind PgBouncer in transaction mode: no LISTEN",
    )
    database_statement_cache_size: int = Field(
        500, ge=0, description="Prepared statements kept per connection; 0 behind PgBouncer before 1.21"
    )
    database_pool_size: int = Field(10, ge=1, le=200, description="Most connections of the hot pool of a process")
    alert_email: str = Field(
        "",
        description="Operators who are mailed red alerts, comma-separated; empty: alerts are only logged and shown",
    )
    alert_smtp_url: str = Field(
        "",
        description="SMTP server for alerts when the mail service is what is broken, as in MAIL_GATEWAYS; "
        "the mail service takes its first gateway unless told",
    )
    alert_from: str = Field(
        "Counterfoil <alerts@counterfoil.example>", description="Sender of alerts that go past the mail service"
    )
    alert_seconds: float = Field(60, gt=0, description="What could be wrong is looked at this often")
    history_months: int = Field(
        24,
        ge=0,
        le=1200,
        description="Whole months of history that are kept before this one; older ones are dropped; 0: for ever",
    )
    otel_exporter_otlp_endpoint: str = Field(
        "",
        description="Where traces go: a collector that takes OTLP over HTTP, like `http://127.0.0.1:4318`; empty: none "
        "are made. The other `OTEL_…` variables of OpenTelemetry's SDK hold too (docs/operating.md)",
    )
    otel_exporter_otlp_traces_endpoint: str = Field(
        "", description="The same as a whole URL, when traces go elsewhere than `/v1/traces` of that"
    )
    otel_sdk_disabled: bool = Field(False, description="No traces, whatever else is set")
    otel_traces_exporter: str = Field("otlp", description="`none`: no traces either; there is no other exporter")

    @property
    def traces_endpoint(self) -> str:
        """Where spans are sent to; empty when none are to be made."""
        if self.otel_sdk_disabled or self.otel_traces_exporter == "none":
            return ""
        base = self.otel_exporter_otlp_endpoint.rstrip("/")
        return self.otel_exporter_otlp_traces_endpoint or (base and f"{base}/v1/traces")

    @field_validator("history_months")
    @classmethod
    def _history_is_not_cut_short(cls, months: int) -> int:
        return months_kept(months)

    @model_validator(mode="after")
    def _traces_have_a_way(self) -> Self:
        # Of a machine's common environment, that of others may be there: what is off is not judged.
        parts = urlsplit(self.traces_endpoint)
        if self.traces_endpoint and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError(
                "OTEL_EXPORTER_OTLP_ENDPOINT must be a URL that begins with http:// or https:// and names a host"
            )
        return self

    @field_validator("alert_email")
    @classmethod
    def _alerts_reach_somebody(cls, text: str) -> str:
        return ",".join(parse_address(part.strip()).email for part in text.split(",") if part.strip())

    @field_validator("alert_smtp_url")
    @classmethod
    def _alerts_have_a_way(cls, url: str) -> str:
        if url:
            DirectGateway.of(url, "")
        return url


def describe_errors(error: ValidationError) -> str:
    """Names of settings and what they need, without the values: a URL holds a password."""
    return "; ".join(
        f"{'.'.join(map(str, entry['loc'])).upper()}: {entry['msg']}" if entry["loc"] else entry["msg"]
        for entry in error.errors()
    )


def months_kept(months: int) -> int:
    """The number itself. Raises ValueError when the database would refuse to drop so much."""
    if 0 < months < _LEAST_MONTHS:
        raise ValueError(f"must be 0 (for ever) or at least {_LEAST_MONTHS}")
    return months


def refuse_if_short(setting: str, months: int, needed_by: str, seconds: float) -> None:
    """Raises ValueError, naming both settings, when months are dropped before `needed_by` is through with them."""
    shortest_days = months // 12 * 365 + months % 12 * 28
    if months and shortest_days * 86_400 <= seconds:
        raise ValueError(
            f"{setting}={months} may drop after {shortest_days} days what {needed_by} still needs: "
            "keep more months, or 0 for ever"
        )
