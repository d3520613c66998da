"""`python -m services.mail templates check|new …`: for the authors of templates. Needs no settings and no database."""

import argparse
import sys
from pathlib import Path

from shared.contract.configuration import ConfigurationError

from ..intake.template_engine import SHIPPED, Templates
from ..intake.template_layers import template_name_fault

COMMAND = "templates"
_NEW = Path(__file__).parent / "new_template"


def add_parsers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    actions = commands.add_parser(COMMAND, help="check a folder of templates, or begin a template").add_subparsers(
        dest="action", required=True
    )
    check = actions.add_parser("check", help="check a folder as a start with MAIL_TEMPLATES=FOLDER does")
    check.add_argument("folder", type=Path, metavar="FOLDER")
    new = actions.add_parser(
        "new", help="write a template to start from; a shipped NAME gives a copy of the shipped one"
    )
    new.add_argument("name", metavar="NAME")
    new.add_argument("--folder", type=Path, default=Path(), metavar="FOLDER", help="the current folder unless given")


def run(arguments: argparse.Namespace) -> int:
    """Run a parsed command. Returns the exit status."""
    try:
        if arguments.action == "check":
            _check(arguments.folder)
        else:
            _write_new(arguments.name, arguments.folder)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _check(folder: Path) -> None:
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is no folder")
    templates = Templates.load(own=folder)
    for name in templates.names():
        print(f"{name}: {', '.join(templates.describe(name)['locales'])}")


def _write_new(name: str, folder: Path) -> None:
    if fault := template_name_fault(name):
        raise ConfigurationError(f"NAME: {fault}")
    source = SHIPPED / name if (SHIPPED / name).is_dir() else _NEW
    try:
        (folder / name).mkdir(parents=True)
        for file in sorted(source.rglob("*.*")):
            copy = folder / name / file.relative_to(source)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(file.read_bytes())
            print(copy)
    except FileExistsError as error:
        raise ConfigurationError(f"{error.filename} exists already: nothing was written") from None
    except OSError as error:
        raise ConfigurationError(f"{error.filename} cannot be written: {error.strerror}") from None
