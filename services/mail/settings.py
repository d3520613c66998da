"""The mail service's settings, each an environment variable. They are read when a process starts."""

from email.utils import parseaddr
from typing import Self

from pydantic import Field, field_validator, model_validator

from shared.contract.addresses import parse_address
from shared.process.settings import ServiceSettings, database_url, refuse_if_short, refuse_one_port_twice
from shared.worker.partitions import PartitionRetention

from .delivery.gateways.settings import parse_gateways
from .intake.sender_domains import SenderDomains

_DAY_SECONDS = 86_400


class Settings(ServiceSettings):
    mail_database_url: str = Field(
        "", description="Mail database, owner role: migrations and `keys`; processes too without the runtime URL"
    )
    mail_runtime_database_url: str = Field("", description="Mail database, runtime role: for the processes")
    mail_host: str = Field("127.0.0.1", description="Address on which the API listens")
    mail_port: int = Field(8002, ge=1, le=65535, description="Port on which the API listens")
    mail_operations_host: str = Field(
        "127.0.0.1", description="Address the operations port listens on; strangers must not reach it"
    )
    mail_operations_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port that serves metrics and health with every check, without a key; 0: none. "
        "`make run` and Compose use 8012",
    )
    mail_gateways: str = Field(
        "smtp://127.0.0.1:1025",
        description="SMTP gateways in order of preference, comma-separated URLs (docs/gateways.md)",
    )
    mail_from: str = Field(
        "Counterfoil <no-reply@counterfoil.example>", description="Sender of mails that do not name one"
    )
    mail_sender_domains: str = Field(
        "",
        description="Domains that clients may name in `from`, comma-separated; `client=a.example|b.example` is one "
        "client's own list; a subdomain is a domain of its own; empty: the domain of MAIL_FROM",
        examples=["example.com,billing=invoices.example|example.com"],
    )
    mail_templates: str = Field(
        "",
        description="Folder of your own templates, which lie over the shipped ones (docs/templates.md); "
        "empty: the shipped ones alone",
        examples=["/templates"],
    )
    mail_message_id_domain: str = Field("counterfoil.example", description="Domain in Message-IDs; use one of your own")
    mail_expire_seconds: int = Field(
        172_800, ge=60, description="Give up on a mail this long after it may be sent, unless it sets `expires_at`"
    )
    mail_retry_base_seconds: float = Field(300, gt=0, description="Wait after the first temporary refusal; doubles")
    mail_retry_cap_seconds: float = Field(14_400, gt=0, description="Longest wait between attempts")
    mail_lease_seconds: float = Field(
        15, gt=0, description="A worker that does not renew for this long loses its mails; it renews at a third of this"
    )
    mail_reply_timeout_seconds: float = Field(
        600, gt=0, description="Wait for the reply to the final dot (RFC 5321 section 4.5.3.2.6)"
    )
    mail_command_timeout_seconds: float = Field(
        60, gt=0, description="Wait for any other SMTP reply, and for a connection"
    )
    mail_ehlo_name: str = Field("", description="Name sent in EHLO; empty: the host's full name")
    mail_poll_seconds: float = Field(1.0, gt=0, description="Workers poll the queue this often, besides wake-ups")
    mail_bounce_domain: str = Field(
        "",
        pattern=r"^([a-z0-9-]+(\.[a-z0-9-]+)*)?$",
        description="Envelope senders become bounce+ID@ this domain, whose mailbox feeds POST /v1/bounces; empty: From",
    )
    mail_content_days: int = Field(
        30, ge=1, description="Wipe content and gateway replies of settled mails this many days after accept"
    )
    mail_address_days: int = Field(
        0,
        ge=0,
        description="Wipe addresses, names, metadata (except IDs) of settled mails after this many days; 0: never",
    )
    mail_attachments_max_bytes: int = Field(
        10_485_760,
        ge=0,
        le=52_428_800,
        description="Bytes of all attachments of a call together, decoded (docs/attachments.md); 0: none",
    )
    mail_suppression_days: int = Field(
        30,
        ge=0,
        description="An address that a bounce or refusal suppressed is mailed again after this many days; 0: never",
    )

    mail_check_severity: str = Field(
        "", description="`name=red|warning` for the mail service's sanity checks and alerts, comma-separated"
    )

    @field_validator("mail_database_url", "mail_runtime_database_url")
    @classmethod
    def _database_url_can_be_read(cls, url: str) -> str:
        return database_url(url)

    @field_validator("mail_gateways")
    @classmethod
    def _gateways_can_be_read(cls, urls: str) -> str:
        parse_gateways(urls)
        return urls

    @field_validator("mail_from")
    @classmethod
    def _mails_have_a_sender(cls, text: str) -> str:
        parse_address(parseaddr(text)[1])
        return text

    @model_validator(mode="after")
    def _operations_have_their_own_port(self) -> Self:
        refuse_one_port_twice("MAIL", self.mail_port, self.mail_operations_port)
        return self

    @model_validator(mode="after")
    def _sender_domains_can_be_read(self) -> Self:
        try:
            SenderDomains.parse(self.mail_sender_domains, self.mail_from)
        except ValueError as error:
            raise ValueError(f"MAIL_SENDER_DOMAINS: {error}") from None
        return self

    @model_validator(mode="after")
    def _retention_outlives_retries(self) -> Self:
        if self.mail_content_days * _DAY_SECONDS <= self.mail_expire_seconds:
            raise ValueError(
                f"MAIL_CONTENT_DAYS={self.mail_content_days} must be longer than MAIL_EXPIRE_SECONDS="
                f"{self.mail_expire_seconds}: retries need the content"
            )
        if 0 < self.mail_address_days < self.mail_content_days:
            raise ValueError("MAIL_ADDRESS_DAYS must be 0 (never) or at least MAIL_CONTENT_DAYS: content has addresses")
        # Content outlives retries, so history must too.
        refuse_if_short(
            "HISTORY_MONTHS",
            self.history_months,
            f"MAIL_CONTENT_DAYS={self.mail_content_days}",
            self.mail_content_days * _DAY_SECONDS,
        )
        return self

    @property
    def kept(self) -> tuple[PartitionRetention, ...]:
        """The tables in month partitions, and how many months of each are kept."""
        return (PartitionRetention("history", self.history_months),)

    @property
    def process_database_url(self) -> str:
        """The database URL of the API and the worker."""
        return self.mail_runtime_database_url or self.mail_database_url
