"""Writes the parts of the documentation that the code knows best: `make docs`. A test keeps them current.

- docs/states.md: the state machines, from the transition tables;
- docs/smtp-outcomes.md: what each misbehaviour of a gateway leads to, from the table that a test runs;
- docs/metrics.md: the metrics, from the registries of both APIs;
- README.md: the settings, from the settings classes.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from prometheus_client import CollectorRegistry  # noqa: E402 - needs the path above

from services.mail.app import create_app as create_mail_app  # noqa: E402
from services.mail.delivery.states import ATTEMPT_TRANSITIONS, MAIL_TRANSITIONS  # noqa: E402
from services.mail.settings import Settings as MailSettings  # noqa: E402
from services.signup.accounts import states as user_states  # noqa: E402
from services.signup.app import create_app as create_signup_app  # noqa: E402
from services.signup.imports import states as import_states  # noqa: E402
from services.signup.outbox import states as outbox_states  # noqa: E402
from services.signup.settings import Settings as SignupSettings  # noqa: E402
from shared.process.settings import ServiceSettings  # noqa: E402
from tests.integration.mail_delivery import test_every_step_gone_wrong as gone_wrong  # noqa: E402
from tests.support.scripted_smtp import Act, Deed, Slowly  # noqa: E402

BEGIN, END = "<!-- settings: written by `make docs` -->", "<!-- end of settings -->"

METRICS = """# Metrics

Written by `make docs` from the registries of both APIs. `GET /metrics` of each API needs no key and holds nothing
personal; keep it inside all the same. Workers have no port: their API tells what they wrote into the database with
their last heartbeat, under the label `worker` (host and process).

- What begins with `counterfoil_` is read from the database for each scrape, in one statement that gives up after 2 s
  and runs once a second at most. When it fails, `counterfoil_…_database_up` is 0 and the other ones of the stages are
  missing; the process' own numbers are there all the same.
- Every process of an API tells the same stages: take the `max` over `instance`, never the sum. Counters are those of
  one worker process since it started: `sum by (effect) (max by (worker, effect) (rate(…)))`.
- The numbers of a worker that has been silent for a minute are left out.
- Whether Valkey answers is a check in `GET /health`.

`deploy/monitoring` has a configuration for Prometheus (`prometheus.yml`), alert rules (`prometheus-alerts.yml`; each
links its heading in operating.md) and a dashboard for Grafana (`grafana-dashboard.json`: import it and choose the
data source). The services mail their own red alerts without any of this (see operating.md); the rules here also notice
when a service itself is gone.
"""


def states() -> str:
    """docs/states.md."""
    users = (
        (source, target, event)
        for source, events in user_states.TRANSITIONS.items()
        for event, target in events.items()
    )
    imports = (
        (source, target, event)
        for source, events in import_states.TRANSITIONS.items()
        for event, target in events.items()
    )
    outbox = (
        (source, target, "") for source, targets in outbox_states.TRANSITIONS.items() for target in sorted(targets)
    )
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

## A user (`services/signup/accounts/states.py`)
{_diagram(users, "pending")}
## An import (`services/signup/imports/states.py`)
`done` when every line has its outcome; while mails of it are left, it can still be paused and canceled. A failed one
is received anew under its idempotency key.
{_diagram(imports, "receiving")}
## An outbox row (`services/signup/outbox/states.py`)
`delivered` and `canceled` rows stand in `outbox_settled`: the settling statement moves them there.
{_diagram(outbox, "pending")}
## A mail (`services/mail/delivery/states.py`)
At accept, the mail to a suppressed address is `suppressed` from the start, and one whose row was deleted is written
back as what it was, unless it was still on its way. `restore` is for a ledger that was restored to an earlier time: its
client knows that the mail was sent.
{_diagram(mails, "queued")}
## An attempt (`services/mail/delivery/states.py`)
It ends as `accepted`, `refused`, `try_later`, `unknown` or `gateway_fault`; all but the last count against the mail.
{_diagram(attempts, "claimed")}"""


def _diagram(arrows: Iterable[tuple[str, str, str]], first: str) -> str:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first}"]
    for source, target, event in arrows:
        label = f": {event}" if event else ""
        lines.append(f"    {source} --> {target}{label}")
    return "\n".join([*lines, "```", ""])


def smtp_outcomes() -> str:
    """docs/smtp-outcomes.md."""
    rows = ["| step | the gateway | outcome | counted | mail (policy `hold`) |", "|---|---|---|---|---|"]
    for step, cases in gone_wrong.TABLE.items():
        for act, outcome in cases:
            counted = "no" if outcome is gone_wrong.FAULT else "yes"
            rows.append(f"| {step} | {_deed(act)} | {outcome} | {counted} | {gone_wrong.STATE[outcome]} |")
    return (
        """# What each answer of a gateway leads to

Written by `make docs` from the table that `tests/integration/mail_delivery/test_every_step_gone_wrong.py` runs
against a scripted SMTP server, cell by cell, with PIPELINING and without. `gateway_fault` is what the breaker hears,
and costs the mail nothing; it hears `unknown` too, for a gateway that falls silent is out of order. With the policy
`resend` an `unknown` outcome sends the same bytes again.

"""
        + "\n".join(rows)
        + "\n"
    )


def _deed(act: Act) -> str:
    if isinstance(act, Deed):
        return act.value
    if isinstance(act, Slowly):
        return f"says `{act.reply}`, byte by byte".replace("\n", " / ")
    return f"says `{act}`".replace("\n", " / ")


def metrics() -> str:
    """docs/metrics.md."""
    signup = create_signup_app(SignupSettings(signup_token_keys="k" * 32)).state.registry
    mail = create_mail_app(MailSettings()).state.registry
    of_signup, of_mail = dict(_families(signup)), dict(_families(mail))
    tables = (
        ("Both services", of_signup.keys() & of_mail.keys()),
        ("Signup", of_signup.keys() - of_mail.keys()),
        ("Mail", of_mail.keys() - of_signup.keys()),
    )
    return METRICS + "".join(
        f"""
## {title}

| metric | type | labels | what it says |
|---|---|---|---|
"""
        + "".join(f"| `{name}` | {(of_signup | of_mail)[name]} |\n" for name in sorted(names))
        for title, names in tables
    )


def _families(registry: CollectorRegistry) -> Iterable[tuple[str, str]]:
    """Names as scraped, with the rest of their rows. A family without samples names its labels only privately."""
    for collector in registry._collector_to_names:  # noqa: SLF001 - see above
        for family in collector.collect():
            name = family.name + ("_total" if family.type == "counter" else "")
            names: Iterable[str] = getattr(collector, "_labelnames", ()) or getattr(family, "_labelnames", ())
            labels = ", ".join(f"`{label}`" for label in names) or "none"
            yield name, f"{family.type} | {labels} | {family.documentation}"


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
    (ROOT / "docs" / "smtp-outcomes.md").write_text(smtp_outcomes())
    (ROOT / "docs" / "metrics.md").write_text(metrics())
    page = ROOT / "README.md"
    page.write_text(readme(page.read_text()))


if __name__ == "__main__":
    main()
