"""What connects the processes: URLs, roles, secrets."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from .credentials import Vault
from .ports import LOOPBACK
from .postgres import Cluster, database_url
from .settings import Settings
from .valkey import Store

ROLES = ("signup_owner", "signup_app", "mail_owner", "mail_app")
# Not inherited: only migrations and operators need these, or only one service, which gets its own value.
WITHHELD = (
    *("SIGNUP_DATABASE_URL", "MAIL_DATABASE_URL", "POSTGRES_URL", "OPERATOR_KEY"),
    *("SIGNUP_RUNTIME_DATABASE_URL", "MAIL_RUNTIME_DATABASE_URL", "MAIL_API_KEY"),
)
CATCHER_NAME = "name=catcher&connections=8"


@dataclass(frozen=True)
class Wiring:
    """Database URLs are pairs: owner role, runtime role."""

    signup_database: tuple[str, str]
    mail_database: tuple[str, str]
    redis_url: str
    mail_gateways: str
    signup_token_keys: str
    mail_webhook_keys: str
    mail_api_key: str = ""


def http_url(settings: Settings, variable: str) -> str:
    return f"http://{LOOPBACK}:{settings.ports[variable]}"


def role_passwords(vault: Vault) -> dict[str, str]:
    return {role: vault.get_or_make(role) for role in ROLES}


def drop_own_urls(settings: Settings, vault: Vault) -> Settings:
    """Drop the URLs of our own servers: a shell that has read run.env has them, but they must not replace ours."""

    def unless_ours(url: str | None) -> str | None:
        return None if url and vault.occurs_in(url) else url

    gateways = settings.mail_gateways
    return dataclasses.replace(
        settings,
        signup_database_url=unless_ours(settings.signup_database_url),
        mail_database_url=unless_ours(settings.mail_database_url),
        redis_url=unless_ours(settings.redis_url),
        mail_gateways=None if gateways and CATCHER_NAME in gateways and "," not in gateways else gateways,
    )


def wire(settings: Settings, vault: Vault, cluster: Cluster | None, store: Store | None) -> Wiring:
    """`cluster` and `store` are the embedded servers, or None if the environment names others."""
    redis_url = store.url if store else settings.redis_url
    assert redis_url is not None
    smtp_port = settings.ports["CATCHER_SMTP_PORT"]
    return Wiring(
        signup_database=_database("signup", settings, vault, cluster),
        mail_database=_database("mail", settings, vault, cluster),
        redis_url=redis_url,
        mail_gateways=settings.mail_gateways or f"smtp://{LOOPBACK}:{smtp_port}?{CATCHER_NAME}",
        signup_token_keys=_secrets("SIGNUP_TOKEN_KEYS", settings, vault),
        mail_webhook_keys=_secrets("MAIL_WEBHOOK_KEYS", settings, vault),
    )


def _secrets(variable: str, settings: Settings, vault: Vault) -> str:
    return settings.environment.get(variable) or vault.get_or_make(variable)


def _database(name: str, settings: Settings, vault: Vault, cluster: Cluster | None) -> tuple[str, str]:
    if cluster:
        passwords = role_passwords(vault)
        owner, app = f"{name}_owner", f"{name}_app"
        return (
            database_url(cluster.url, name, owner, passwords[owner]),
            database_url(cluster.url, name, app, passwords[app]),
        )
    url = settings.signup_database_url if name == "signup" else settings.mail_database_url
    assert url is not None
    return url, settings.environment.get(f"{name.upper()}_RUNTIME_DATABASE_URL") or url


def inherited_environment(settings: Settings) -> dict[str, str]:
    """Variables that every process gets from the launching shell."""
    return {name: value for name, value in settings.environment.items() if name not in WITHHELD}


def service_environment(service: str, settings: Settings, wiring: Wiring) -> dict[str, str]:
    """Variables that one service's processes get in addition."""
    shell: Mapping[str, str] = settings.environment
    prefix = service.upper()
    common = {
        "REDIS_URL": wiring.redis_url,
        f"{prefix}_HOST": LOOPBACK,
        f"{prefix}_PORT": str(settings.ports[f"{prefix}_PORT"]),
        f"{prefix}_OPERATIONS_HOST": LOOPBACK,
        f"{prefix}_OPERATIONS_PORT": str(settings.ports[f"{prefix}_OPERATIONS_PORT"]),
        "PYTHONUNBUFFERED": "1",
    }
    if service == "mail":
        return common | {
            "MAIL_RUNTIME_DATABASE_URL": wiring.mail_database[1],
            "MAIL_GATEWAYS": wiring.mail_gateways,
            "MAIL_WEBHOOK_KEYS": wiring.mail_webhook_keys,
        }
    return common | {
        "SIGNUP_RUNTIME_DATABASE_URL": wiring.signup_database[1],
        "MAIL_URL": http_url(settings, "MAIL_PORT"),
        "MAIL_API_KEY": wiring.mail_api_key,
        "SIGNUP_PUBLIC_URL": shell.get("SIGNUP_PUBLIC_URL") or http_url(settings, "SIGNUP_PORT"),
        "SIGNUP_TOKEN_KEYS": wiring.signup_token_keys,
        # All local requests come from one address, so the limit would stop the only user.
        "SIGNUP_LIMIT_PER_IP": shell.get("SIGNUP_LIMIT_PER_IP") or "off",
    }


def command_environment(settings: Settings, wiring: Wiring) -> dict[str, str]:
    """Variables of migrations and `keys` commands: the owner roles, and all that the processes get."""
    return {
        **inherited_environment(settings),
        **service_environment("signup", settings, wiring),
        **service_environment("mail", settings, wiring),
        "SIGNUP_DATABASE_URL": wiring.signup_database[0],
        "MAIL_DATABASE_URL": wiring.mail_database[0],
    }
