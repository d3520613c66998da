"""Settings that both services have. Each is an environment variable, listed in docs/settings.md."""

from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, RedisDsn, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ..audit.operator_mail import DirectGateway
from ..contract.addresses import parse_address
from ..db.pool import DatabaseOptions

# The databases refuse to keep less (migrations/statements.py). No sanity check looks further back.
_LEAST_MONTHS = 2


class ServiceSettings(BaseSettings):
    """Read when a process starts, never at import. A field `signup_port` is the variable `SIGNUP_PORT`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    redis_url: RedisDsn = Field(
        RedisDsn("redis://127.0.0.1:6379/0"),
        description="Valkey or Redis for arq's cron; it holds no state that matters",
    )
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Lowest level that is logged")
    log_personal_data: bool = Field(
        default=False, description="Log addresses, names, keys and tokens unmasked: on your own machine only"
    )
    wakeup: str = Field(
        "listen",
        pattern="^(listen|poll)$",
        description="`listen` for wake-ups by LISTEN; `poll` for none, behind PgBouncer in transaction mode",
    )
    database_statement_cache_size: int = Field(
        500, ge=0, description="Prepared statements cached per connection; 0 behind PgBouncer before 1.21"
    )
    database_pool_size: int = Field(10, ge=1, le=200, description="Maximum connections in the pool of each process")
    alert_email: str = Field(
        "", description="Operators who get red alerts by mail, comma-separated; empty: alerts are only logged and shown"
    )
    alert_smtp_url: str = Field(
        "",
        description="SMTP server for alerts when the mail service is down, in the format of MAIL_GATEWAYS; "
        "the mail service defaults to its first gateway",
    )
    alert_from: str = Field(
        "Counterfoil <alerts@counterfoil.example>", description="Sender of alerts that bypass the mail service"
    )
    alert_seconds: float = Field(60, gt=0, description="Seconds between two runs of the alert loop")
    history_months: int = Field(
        24,
        ge=0,
        le=1200,
        description="Whole months of history to keep before the current one; older months are dropped; 0: keep all",
    )
    otel_exporter_otlp_endpoint: str = Field(
        "",
        description="Collector for traces, by OTLP over HTTP, like `http://127.0.0.1:4318`; empty: no traces. "
        "The other `OTEL_…` variables of OpenTelemetry's SDK apply too (docs/operating.md)",
    )
    otel_exporter_otlp_traces_endpoint: str = Field(
        "", description="Full URL for traces, when it is not `/v1/traces` of the collector above"
    )
    otel_sdk_disabled: bool = Field(False, description="Turns tracing off, whatever else is set")
    otel_traces_exporter: str = Field("otlp", description="`none` turns tracing off; `otlp` is the only exporter")

    @property
    def process_database_url(self) -> str:
        """The database, with the role of the processes."""
        raise NotImplementedError

    def database_options(self, application_name: str, *, one_plan: bool = False) -> DatabaseOptions:
        """Of a process's pool."""
        return DatabaseOptions(
            self.process_database_url,
            application_name,
            pool_size=self.database_pool_size,
            statement_cache_size=self.database_statement_cache_size,
            one_plan=one_plan,
        )

    @property
    def traces_endpoint(self) -> str:
        """Where spans are sent; empty when tracing is off."""
        if self.otel_sdk_disabled or self.otel_traces_exporter == "none":
            return ""
        base = self.otel_exporter_otlp_endpoint.rstrip("/")
        return self.otel_exporter_otlp_traces_endpoint or (base and f"{base}/v1/traces")

    @field_validator("history_months")
    @classmethod
    def _validate_history_months(cls, months: int) -> int:
        return months_kept(months)

    @model_validator(mode="after")
    def _validate_traces_endpoint(self) -> Self:
        # The variables may be meant for other programs of the machine: they are checked only when tracing is on.
        parts = urlsplit(self.traces_endpoint)
        if self.traces_endpoint and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError(
                "OTEL_EXPORTER_OTLP_ENDPOINT must be a URL that begins with http:// or https:// and names a host"
            )
        return self

    @field_validator("redis_url")
    @classmethod
    def _validate_redis_url(cls, url: RedisDsn) -> RedisDsn:
        if (url.path or "/0").strip("/") and not (url.path or "").strip("/").isdecimal():
            raise ValueError("must end in the number of a database, like redis://host:6379/0")
        return url

    @field_validator("alert_email")
    @classmethod
    def _validate_alert_email(cls, text: str) -> str:
        return ",".join(parse_address(part.strip()).email for part in text.split(",") if part.strip())

    @field_validator("alert_smtp_url")
    @classmethod
    def _validate_alert_smtp_url(cls, url: str) -> str:
        if url:
            DirectGateway.of(url, "")
        return url


def describe_errors(error: ValidationError) -> str:
    """Each wrong setting and what it needs. Values are left out: a URL may hold a password."""
    return "; ".join(
        f"{'.'.join(map(str, entry['loc'])).upper()}: {entry['msg']}" if entry["loc"] else entry["msg"]
        for entry in error.errors()
    )


def database_url(url: str) -> str:
    """Return `url`, which may be empty. Raises ValueError when it does not lead to a PostgreSQL server."""
    if url and not url.startswith(("postgresql://", "postgres://")):
        raise ValueError("must be a URL that begins with postgresql://")
    return url


def http_url(url: str) -> str:
    """Return `url`. Raises ValueError when it is no HTTP URL; the message leaves it out, as it may hold a password."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be a URL that begins with http:// or https:// and names a host")
    return url


def months_kept(months: int) -> int:
    """Return `months`. Raises ValueError when the database would refuse to keep so little."""
    if 0 < months < _LEAST_MONTHS:
        raise ValueError(f"must be 0 (keep all) or at least {_LEAST_MONTHS}")
    return months


def refuse_one_port_twice(service: str, port: int, operations_port: int) -> None:
    """Raise ValueError, naming both settings, when the operations port is the public one."""
    if port == operations_port:
        raise ValueError(f"{service}_OPERATIONS_PORT={operations_port} must differ from {service}_PORT")


def refuse_if_short(setting: str, months: int, needed_by: str, seconds: float) -> None:
    """Raise ValueError, naming both settings, when months are dropped while `needed_by` still needs them."""
    shortest_days = months // 12 * 365 + months % 12 * 28
    if months and shortest_days * 86_400 <= seconds:
        raise ValueError(
            f"{setting}={months} may drop rows after {shortest_days} days that {needed_by} still needs: "
            "keep more months, or 0 to keep all"
        )
