"""Writes the parts of the documentation that the code knows best: `make docs`. A test keeps them current.

- docs/states.md: the state machines, from the transition tables;
- README.md: the settings, from the settings classes.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from services.mail.delivery.mail import ATTEMPT_TRANSITIONS, MAIL_TRANSITIONS  # noqa: E402 - needs the path above
from services.mail.settings import Settings as MailSettings  # noqa: E402
from services.signup.accounts import standing  # noqa: E402
from services.signup.outbox import entry  # noqa: E402
from services.signup.settings import Settings as SignupSettings  # noqa: E402
from shared.settings import ServiceSettings  # noqa: E402

BEGIN, END = "<!-- settings: written by `make docs` -->", "<!-- end of settings -->"


def states() -> str:
    """docs/states.md."""
    users = (
        (source, target, event) for source, events in standing.TRANSITIONS.items() for event, target in events.items()
    )
    outbox = ((source, target, "") for source, targets in entry.TRANSITIONS.items() for target in sorted(targets))
    mails = (
        (source, target, event)
        for source, events in MAIL_TRANSITIONS.items()
        for event, targets in events.items()
        for target in sorted(targets)
    )
    attempts = ((source, target, "") for source, targets in ATTEMPT_TRANSITIONS.items() for target in sorted(targets))
    return f"""# States

Written by `make docs` from the transition tables in the code; the databases hold the same rules as CHECK constraints
that tie each state to its columns.

## A user (`services/signup/accounts/standing.py`)
{_diagram(users, "pending")}
## An outbox row (`services/signup/outbox/entry.py`)
`delivered` and `canceled` rows stand in `outbox_settled`: the settling statement moves them there.
{_diagram(outbox, "pending")}
## A mail (`services/mail/delivery/mail.py`)
At accept, the mail to a suppressed address is `suppressed` from the start.
{_diagram(mails, "queued")}
## An attempt (`services/mail/delivery/mail.py`)
It ends as `accepted`, `refused`, `try_later`, `unknown` or `gateway_fault`; all but the last count against the mail.
{_diagram(attempts, "claimed")}"""


def _diagram(arrows: Iterable[tuple[str, str, str]], first: str) -> str:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first}"]
    for source, target, event in arrows:
        label = f": {event}" if event else ""
        lines.append(f"    {source} --> {target}{label}")
    return "\n".join([*lines, "```", ""])


def settings() -> str:
    """The table of settings in the README."""
    rows = ["| variable | of | default | what it is |", "|---|---|---|---|"]
    for owner, model in (("both", ServiceSettings), ("signup", SignupSettings), ("mail", MailSettings)):
        for name, field in model.model_fields.items():
            if owner != "both" and name in ServiceSettings.model_fields:
                continue
            default = f"`{field.default}`" if str(field.default) else "none"
            rows.append(f"| `{name.upper()}` | {owner} | {default} | {field.description} |")
    return "\n".join(rows)


def readme(text: str) -> str:
    """The README with its table of settings written anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{settings()}\n{END}{after}"


def main() -> None:
    (ROOT / "docs" / "states.md").write_text(states())
    page = ROOT / "README.md"
    page.write_text(readme(page.read_text()))


if __name__ == "__main__":
    main()
