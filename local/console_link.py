"""A link to the console that signs in once, for the person who runs the stack: it holds the operator's key, sealed."""

from collections.abc import Mapping

from . import runenv
from .credentials import Vault
from .settings import LocalError, Settings


def make_link(settings: Settings, facts: Mapping[str, str]) -> str:
    """`facts` are those of run.env. An empty text when the console is turned off."""
    if settings.environment.get("CONSOLE") == "off":
        return ""
    from services.signup.console.one_time_links import OneTimeLinks  # noqa: PLC0415 - a start does not wait for it
    from services.signup.verification_token import TokenRing  # noqa: PLC0415 - as above

    vault = Vault(settings.state / "secrets.json")
    keys = settings.environment.get("SIGNUP_TOKEN_KEYS") or vault.get("SIGNUP_TOKEN_KEYS") or ""
    return facts["SIGNUP_URL"] + OneTimeLinks(TokenRing.from_setting(keys)).make(facts["OPERATOR_KEY"])


def print_link(settings: Settings) -> int:
    """Another link for the stack that runs. Raises LocalError when none does."""
    try:
        facts = runenv.read(settings.run_env)
    except FileNotFoundError:
        raise LocalError(f"no stack runs: there is no {settings.run_env}; `make run` starts one") from None
    print(make_link(settings, facts) or "the console is turned off (CONSOLE=off)")
    return 0
