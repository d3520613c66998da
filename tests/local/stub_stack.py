"""The stack with small stand-ins for the services. `python stub_stack.py CHECKOUT` runs it like `make run`."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from local.credentials import Vault
from local.ports import pick_free
from local.process import dies_with_parent
from local.programs import SERVICES
from local.run import run
from local.settings import PORT_DEFAULTS, Settings, read_settings
from local.stack import Recipe
from local.supervisor import Program
from local.wiring import Wiring

# Dies as long as the file exists, like a process with a broken setting. The file may hold how many seconds it lives
# first: after a second, supervisord takes it for running.
BREAKABLE = """
import http.server, pathlib, sys, time
broken = pathlib.Path(sys.argv[1])
if broken.exists():
    time.sleep(float(broken.read_text() or 0))
    sys.exit("broken")
"""
# Ready, unless a file of its third argument's name exists.
API = f"""{BREAKABLE}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if pathlib.Path(sys.argv[3]).exists() else 200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""
WORKER = f"{BREAKABLE}time.sleep(1000)"
ODD_VALUE = "a 'b' \"c\" %(d)s ; # $HOME\nsecond line"


def services(settings: Settings, wiring: Wiring) -> list[Program]:
    def program(name: str, *code: str) -> Program:
        command = (*dies_with_parent("KILL"), sys.executable, "-S", "-c", *code)
        environment = {"MAIL_API_KEY": wiring.mail_api_key, "ODD_VALUE": ODD_VALUE}
        return Program(name, command, SERVICES, settings.state, environment)

    unready = str(settings.state / "unready")
    return [
        program("signup-api", API, "/nonexistent", str(settings.ports["SIGNUP_PORT"]), unready),
        program("mail-api", API, str(settings.state / "broken-api"), str(settings.ports["MAIL_PORT"]), unready),
        program("signup-worker", WORKER, str(settings.state / "broken")),
        program("mail-worker", WORKER, "/nonexistent"),
    ]


async def nothing(*_: object) -> None:
    """No migrations, no keys to register."""


async def mint(_settings: Settings, vault: Vault, _environment: Mapping[str, str]) -> None:
    vault.keep("OPERATOR_KEY", "cf_operator")
    vault.keep("MAIL_API_KEY", "cf_signup")


RECIPE = Recipe(services, nothing, mint, nothing)


def free_ports() -> dict[str, str]:
    return {name: str(pick_free()) for name in PORT_DEFAULTS}


if __name__ == "__main__":
    sys.exit(asyncio.run(run(read_settings(checkout=Path(sys.argv[1])), RECIPE)))
