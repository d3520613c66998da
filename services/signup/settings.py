"""The signup service's settings, each an environment variable. Read by `load()` when a process starts."""

from pydantic import Field

from shared.settings import ServiceSettings


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
    signup_token_ttl_seconds: int = Field(259_200, ge=60, description="How long a verification link lives")
    signup_mail_cooldown_seconds: int = Field(
        60, ge=0, description="At most one mail to an address in this time, when an anonymous caller can cause it"
    )
    mail_url: str = Field("http://127.0.0.1:8002", description="Where the mail service is")
    mail_api_key: str = Field("", description="Signup's own key at the mail service")
    mail_timeout_seconds: float = Field(10, gt=0, description="Longest wait for an answer of the mail service")
    signup_lease_seconds: float = Field(
        30, gt=0, description="An outbox row claimed this long ago is free again; longer than MAIL_TIMEOUT_SECONDS"
    )
    signup_relay_batch: int = Field(200, ge=1, le=500, description="Outbox rows in one request to the mail service")
    signup_poll_seconds: float = Field(1.0, gt=0, description="The outbox is looked at this often, woken or not")
    signup_give_up_seconds: int = Field(
        604_800, ge=60, description="An effect that has been refused for this long is dead and waits for an operator"
    )

    @property
    def process_database_url(self) -> str:
        """What the API and the worker connect with."""
        return self.signup_runtime_database_url or self.signup_database_url


def load() -> Settings:
    """Settings from the environment. Raises pydantic's ValidationError naming what is wrong."""
    return Settings()
