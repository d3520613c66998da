"""What both services' settings have in common. Every setting is an environment variable, listed in the README."""

from pydantic import Field, RedisDsn, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from .addresses import parse_address
from .alert_mail import DirectGateway


class ServiceSettings(BaseSettings):
    """Read when a process starts, never at import. A field `signup_port` is the variable `SIGNUP_PORT`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    redis_url: RedisDsn = Field(
        RedisDsn("redis://127.0.0.1:6379/0"),
        description="Valkey or Redis: arq's cron and jobs, nothing that matters",
    )
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Least severe log line")
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
        "", description="Operators who are mailed red alerts, comma-separated; empty: alerts are only logged and shown"
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
