"""Both documents as files, made without starting a server."""

import json
from pathlib import Path

from fastapi import FastAPI

from services.mail.app import create_app as create_mail_app
from services.mail.settings import Settings as MailSettings
from services.signup.app import create_app as create_signup_app
from services.signup.settings import Settings as SignupSettings

SERVICES = ("signup", "mail")


def _app(service: str) -> FastAPI:
    if service == "mail":
        return create_mail_app(MailSettings())
    return create_signup_app(SignupSettings(signup_token_keys="k" * 32))


def write(folder: Path) -> dict[str, Path]:
    """Write `signup.json` and `mail.json`, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {service: folder / f"{service}.json" for service in SERVICES}
    for service, path in paths.items():
        path.write_text(json.dumps(_app(service).openapi(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return paths
