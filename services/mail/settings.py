"""The mail service's settings, each an environment variable. Read by `load()` when a process starts."""

from pydantic import Field

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    mail_database_url: str = Field(
        "", description="The mail database, as the owner role: migrations and `keys`; processes too when alone"
    )
    mail_runtime_database_url: str = Field("", description="The mail database, as the runtime role: the processes")
    mail_host: str = Field("127.0.0.1", description="Where the API listens")
    mail_port: int = Field(8002, ge=1, le=65535, description="Where the API listens")
    mail_gateways: str = Field(
        "smtp://127.0.0.1:1025", description="SMTP gateways in order of preference, comma-separated URLs (API.md)"
    )
    mail_from: str = Field(
        "Counterfoil <no-reply@counterfoil.example>", description="Sender of mails that name none of their own"
    )
    mail_message_id_domain: str = Field(
        "counterfoil.example", description="Right-hand side of Message-ID; a domain of yours"
    )
    mail_expire_seconds: int = Field(
        172_800, ge=60, description="Give up on a mail this long after it may be sent, unless it says otherwise"
    )
    mail_retry_base_seconds: float = Field(300, gt=0, description="Wait after a first temporary refusal; doubles")
    mail_retry_cap_seconds: float = Field(14_400, gt=0, description="Longest wait between attempts")
    mail_lease_seconds: float = Field(
        30, gt=0, description="A worker that is silent for this long has lost the mails it holds; it renews in thirds"
    )
    mail_reply_timeout_seconds: float = Field(
        600, gt=0, description="Wait for the answer after the dot (RFC 5321 section 4.5.3.2.6)"
    )
    mail_command_timeout_seconds: float = Field(
        60, gt=0, description="Wait for any other SMTP answer, and for connecting"
    )
    mail_ehlo_name: str = Field("", description="Name said in EHLO; the host's own when empty")
    mail_poll_seconds: float = Field(1.0, gt=0, description="The queue is looked at this often, woken or not")

    @property
    def process_database_url(self) -> str:
        """What the API and the worker connect with."""
        return self.mail_runtime_database_url or self.mail_database_url


def load() -> Settings:
    """Settings from the environment. Raises pydantic's ValidationError naming what is wrong."""
    return Settings()
