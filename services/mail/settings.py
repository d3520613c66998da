"""The mail service's settings, each an environment variable. They are read when a process starts."""

from email.utils import parseaddr
from typing import Self

from pydantic import Field, field_validator, model_validator

from shared.contract.addresses import domain_as_a_labels, parse_address
from shared.contract.key_ring import KeyRing
from shared.process.settings import ServiceSettings, database_url, months_kept, refuse_if_short, refuse_one_port_twice
from shared.worker.partitions import PartitionRetention

from .audit.sender_settings import read_selectors, read_server
from .bounces.listen_address import parse_listen_address
from .delivery.gateways.settings import parse_gateways
from .intake.sender_domains import SenderDomains
from .provider_events.settings import parse_provider_events

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
    mail_bounce_listen: str = Field(
        "",
        description="Address where the API takes notices by LMTP from your mail server; strangers must not reach it "
        "(docs/bounce-mailbox.md); needs MAIL_BOUNCE_DOMAIN; empty: none",
        examples=["127.0.0.1:2003"],
    )
    mail_bounce_imap_password: str = Field(
        "", description="Password of the mailbox that `bounces fetch` reads (docs/bounce-mailbox.md)"
    )
    mail_bounce_imap_password_file: str = Field(
        "", description="File that holds this password, in place of the variable", examples=["/run/secrets/bounces"]
    )
    mail_provider_events: str = Field(
        "",
        description="Providers whose events are accepted, with what verifies them: `provider=secret`, comma-separated "
        "(docs/providers/README.md); empty: none",
        examples=["postmark=4f1c…,ses=arn:aws:sns:eu-central-1:123456789012:mail-events"],
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

    mail_dns_check: str = Field(
        "on",
        pattern="^(on|off)$",
        description="The daily check of the senders' SPF, DKIM and DMARC records (docs/operating.md#sender_dns)",
    )
    mail_dns_server: str = Field(
        "",
        description="Name server for that check, where the machine's own answers what others do not see; empty: own",
        examples=["192.0.2.53", "[2001:db8::53]:5353"],
    )
    mail_dkim_selectors: str = Field(
        "",
        description="DKIM selectors that must have a key, comma-separated: `selector` at each From domain, or "
        "`domain=selector`; empty: any key will do",
        examples=["s1,invoices.example=2026"],
    )
    mail_webhook_keys: str = Field(
        "",
        description="Secrets that the secrets of webhook subscribers are derived from, comma-separated; the first is "
        "for new ones (docs/webhooks.md); empty: no webhooks",
    )
    mail_webhook_timeout_seconds: float = Field(15, gt=0, le=60, description="Longest wait for a subscriber's answer")
    mail_webhook_allow_private: bool = Field(
        default=False, description="Allow webhooks to private and loopback addresses, and over plain http"
    )
    mail_webhook_give_up_seconds: int = Field(
        259_200, ge=60, description="A delivery that fails for this long is given up; its subscriber can replay it"
    )
    mail_webhook_log_months: int = Field(
        3, ge=0, le=1200, description="Whole months of the delivery log kept besides the current one; 0: keep all"
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

    @field_validator("mail_dns_server")
    @classmethod
    def _name_server_can_be_read(cls, text: str) -> str:
        read_server(text)
        return text

    @field_validator("mail_dkim_selectors")
    @classmethod
    def _selectors_can_be_read(cls, text: str) -> str:
        read_selectors(text)
        return text

    @model_validator(mode="after")
    def _gateways_can_be_asked_again(self) -> Self:
        for gateway in parse_gateways(self.mail_gateways):
            seconds = gateway.idempotency_seconds
            if seconds is not None and seconds <= 2 * self.mail_reply_timeout_seconds:
                raise ValueError(
                    f"MAIL_GATEWAYS, gateway {gateway.name}: idempotency_seconds={seconds:g} must be more than twice "
                    f"MAIL_REPLY_TIMEOUT_SECONDS={self.mail_reply_timeout_seconds:g}: the first reply may be that late,"
                    " and so may the second"
                )
        return self

    @field_validator("mail_provider_events")
    @classmethod
    def _provider_events_can_be_read(cls, text: str) -> str:
        parse_provider_events(text)
        return text

    @field_validator("mail_webhook_keys")
    @classmethod
    def _webhook_keys_are_secrets(cls, text: str) -> str:
        if text:
            _read_webhook_keys(text)
        return text

    @field_validator("mail_webhook_log_months")
    @classmethod
    def _log_months_can_be_kept(cls, months: int) -> int:
        return months_kept(months)

    @field_validator("mail_from")
    @classmethod
    def _mails_have_a_sender(cls, text: str) -> str:
        parse_address(parseaddr(text)[1])
        return text

    @field_validator("mail_message_id_domain")
    @classmethod
    def _message_ids_can_be_written(cls, text: str) -> str:
        return domain_as_a_labels(text)

    @field_validator("mail_bounce_listen")
    @classmethod
    def _listen_address_can_be_read(cls, address: str) -> str:
        if address:
            parse_listen_address(address)
        return address

    @model_validator(mode="after")
    def _listener_knows_its_domain(self) -> Self:
        if self.mail_bounce_listen and not self.mail_bounce_domain:
            raise ValueError("MAIL_BOUNCE_LISTEN needs MAIL_BOUNCE_DOMAIN: the listener takes mail for it alone")
        return self

    @model_validator(mode="after")
    def _mailbox_has_one_password(self) -> Self:
        if self.mail_bounce_imap_password and self.mail_bounce_imap_password_file:
            raise ValueError("MAIL_BOUNCE_IMAP_PASSWORD and MAIL_BOUNCE_IMAP_PASSWORD_FILE exclude each other")
        return self

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
        return (
            PartitionRetention("history", self.history_months),
            PartitionRetention("webhook_deliveries_settled", self.mail_webhook_log_months),
        )

    @property
    def webhook_ring(self) -> KeyRing | None:
        """The keys of MAIL_WEBHOOK_KEYS; None without any: there are no webhooks then."""
        return _read_webhook_keys(self.mail_webhook_keys) if self.mail_webhook_keys else None

    @property
    def process_database_url(self) -> str:
        """The database URL of the API and the worker."""
        return self.mail_runtime_database_url or self.mail_database_url


def _read_webhook_keys(text: str) -> KeyRing:
    return KeyRing.read("MAIL_WEBHOOK_KEYS", text, use="signs webhooks")
