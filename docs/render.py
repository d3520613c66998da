"""Generates documentation from the code: `make docs`. A test checks that the files are current.

- docs/states.md: the state machines, from the transition tables;
- docs/smtp-outcomes.md: the outcome of each gateway reply or fault, from the table that a test runs;
- docs/metrics.md: the metrics, from the registries of both APIs;
- docs/settings.md, and the settings that docker-compose.yml passes on, from the settings classes;
- docs/architecture.md: the picture of the rooms, from the imports;
- docs/api.md: every call and every problem, from the OpenAPI documents of both APIs;
- docs/decisions/README.md: the list of the records, from their titles;
- llms.txt: the list of all pages, from mkdocs.yml and their first paragraphs.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import yaml  # noqa: E402 - needs the path above
from prometheus_client import CollectorRegistry  # noqa: E402
from pydantic.fields import FieldInfo  # noqa: E402

from docs.site_hooks import entries, in_repository  # noqa: E402
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
from tests.support.scripted_smtp import Act, Misbehavior, Slowly  # noqa: E402

SETTINGS_BEGIN, SETTINGS_END = "# settings: written by `make docs`", "# end of settings"
BEGIN, END = "<!-- rooms: written by `make docs` -->", "<!-- end of rooms -->"

METRICS = """# Metrics

Written by `make docs` from the registries of both APIs. `GET /metrics` of each API needs a key with `audit:read`, or
none on the operations port (`SIGNUP_OPERATIONS_PORT`, `MAIL_OPERATIONS_PORT`; see deploying.md). It contains no
personal data; still, do not publish it. Workers have no port: each worker stores its numbers in the database with its
heartbeat, and the API reports them under the label `worker` (host and process).

- Metrics that begin with `counterfoil_` are read from the database for each scrape, in one statement with a timeout
  of 2 s, at most once a second. When it fails, `counterfoil_…_database_up` is 0 and the other metrics of the stages
  are missing; the process's own metrics are still there.
- Every process of an API reports the same stages: take the `max` over `instance`, never the sum. A counter belongs to
  one worker process since its start: `sum by (effect) (max by (worker, effect) (rate(…)))`.
- A worker without a heartbeat for a minute is left out.
- `GET /health` checks whether Valkey answers.

`deploy/monitoring` has a configuration for Prometheus (`prometheus.yml`), alert rules (`prometheus-alerts.yml`; each
links its heading in operating.md) and a dashboard for Grafana (`grafana-dashboard.json`: import it and choose the
data source). The services mail their own red alerts without Prometheus (see operating.md); these rules also fire when a
whole service is down.
"""


SETTINGS = """# Settings

Written by `make docs` from the settings classes. Every setting is an environment variable, read and checked when a
process starts; a wrong value stops the start and names the variable. Units end the names: `_SECONDS`, `_DAYS`,
`_MONTHS`, `_BYTES`. An empty variable counts as one that is not set.
"""

API = """# The HTTP API

Written by `make docs` from the OpenAPI documents of both services. Each service serves its own, with every field and an
example of every answer, at `/docs` and `/openapi.json`.

- **Keys.** `Authorization: Bearer cf_…`. `python -m services.mail keys create`, or that of `services.signup`, makes one
  with the scopes in the tables. A client sees its own mails only, unless its key has `mails:all`.
- **Errors** are `application/problem+json` (RFC 9457). `type` is `/problems/SLUG`, which explains it, and `errors`
  names the fields. Unknown fields and parameters are refused, and what belongs to another client is 404.
- **Lists** are `{"items": […], "next_cursor": "…"}`, newest first. `limit` is 50 unless said, at most 500. Different
  filters combine with AND, a repeated one with OR.
- **Times** are RFC 3339 in UTC. IDs are UUIDv7.
- **Correlation.** `X-Request-ID` and `traceparent` are accepted, answered, logged and passed on.

In the tables, fields and parameters with `?` may be left out. Nearly every call can also answer with those of the
[problems](#problems) that say so, and a call with a key with `unauthorized` and `forbidden`.
"""

DECISIONS = """# Decisions

What was chosen and why, half a page each. A record is not rewritten: a later one may take its place.

"""

LLMS = """# Counterfoil

> Sign people up and mail them: lose nothing, send nothing twice, and be able to prove it.

Two HTTP services in Python, each with its own PostgreSQL. The signup service commits users and what is owed to them;
the mail service sends one mail per client and request ID, for ever. Their two ledgers are compared. `make run` starts
it all on one machine. Written by `make docs`.
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

Written by `make docs` from the transition tables in the code. CHECK constraints in the databases tie each state to its
columns.

## A user (`services/signup/accounts/states.py`)
{_diagram(users, "pending")}
## An import (`services/signup/imports/states.py`)
An import is `done` when every line has an outcome. While its mails are left, it can still be paused and canceled. A
failed upload may be sent again under its idempotency key.
{_diagram(imports, "receiving")}
## An outbox row (`services/signup/outbox/states.py`)
`delivered` and `canceled` rows are in `outbox_settled`: the settling statement moves them there.
{_diagram(outbox, "pending")}
## A mail (`services/mail/delivery/states.py`)
At accept, a mail to a suppressed address starts as `suppressed`, and a mail whose row was deleted gets its old state
back, unless it was still waiting. `restore` is for a ledger that was restored to an earlier time: the client knows that
the mail was sent. `deferred` after an `unknown` outcome: its gateway deduplicates and is asked again.
{_diagram(mails, "queued")}
## An attempt (`services/mail/delivery/states.py`)
An attempt ends as `accepted`, `refused`, `try_later`, `unknown` or `gateway_fault`. All but `gateway_fault` count as
attempts of the mail.
{_diagram(attempts, "claimed")}"""


def _diagram(arrows: Iterable[tuple[str, str, str]], first: str) -> str:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first}"]
    for source, target, event in arrows:
        label = f": {event}" if event else ""
        lines.append(f"    {source} --> {target}{label}")
    return "\n".join([*lines, "```", ""])


def smtp_outcomes() -> str:
    """docs/smtp-outcomes.md."""
    rows = ["| step | the gateway | outcome | counted | mail (policy `hold`) | where the gateway deduplicates |"]
    rows.append("|---|---|---|---|---|---|")
    for step, cases in gone_wrong.TABLE.items():
        for act, outcome in cases:
            counted = "no" if outcome is gone_wrong.FAULT else "yes"
            states = f"{gone_wrong.STATE[outcome]} | {gone_wrong.STATE_ASKED_AGAIN[outcome]}"
            rows.append(f"| {step} | {_describe(act)} | {outcome} | {counted} | {states} |")
    return (
        """# Outcomes of SMTP replies and faults

Written by `make docs` from the table that `tests/integration/mail_delivery/test_every_step_gone_wrong.py` runs
against a scripted SMTP server, cell by cell, with and without PIPELINING. `gateway_fault` counts for the circuit
breaker and costs the mail no attempt. `unknown` counts for the circuit breaker too, because a silent gateway is faulty.
With the policy `resend`, an `unknown` outcome sends the same bytes again.

A gateway that deduplicates is asked again: the mail waits, `deferred`, and is handed over there once more, with the
same key. When that cannot be done any more, it is `uncertain`
([gateways.md](gateways.md#gateways-that-deduplicate), ADR 0033,
`tests/integration/mail_delivery/test_asking_again.py`).

The table is about a gateway's only connection. While others are open, one that is turned away (421 before MAIL, or 4yz
with words such as "too many connections" up to MAIL) has no outcome: fewer connections are used, and one of the others
takes the mail (ADR 0023, `tests/integration/mail_delivery/test_connection_limits.py`). When none is open, the breaker
counts it, and such words leave no attempt. A mail larger than the announced `SIZE` is `refused` before MAIL.

"""
        + "\n".join(rows)
        + "\n"
    )


def _describe(act: Act) -> str:
    if isinstance(act, Misbehavior):
        return act.value
    if isinstance(act, Slowly):
        return f"replies `{act.reply}`, byte by byte".replace("\n", " / ")
    return f"replies `{act}`".replace("\n", " / ")


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

| metric | type | labels | description |
|---|---|---|---|
"""
        + "".join(f"| `{name}` | {(of_signup | of_mail)[name]} |\n" for name in sorted(names))
        for title, names in tables
    )


def _families(registry: CollectorRegistry) -> Iterable[tuple[str, str]]:
    """The name of each family as scraped, with the rest of its row."""
    for collector in registry._collector_to_names:  # noqa: SLF001 - a family without samples has its labels only here
        for family in collector.collect():
            name = family.name + ("_total" if family.type == "counter" else "")
            names: Iterable[str] = getattr(collector, "_labelnames", ()) or getattr(family, "_labelnames", ())
            labels = ", ".join(f"`{label}`" for label in names) or "none"
            yield name, f"{family.type} | {labels} | {family.documentation}"


def settings() -> str:
    """docs/settings.md."""
    sections = (
        ("Both services", ServiceSettings, ()),
        ("Signup", SignupSettings, ServiceSettings.model_fields),
        ("Mail", MailSettings, ServiceSettings.model_fields),
    )
    return SETTINGS + "".join(
        f"""
## {title}

| variable | default | unit, limits | what it is | example |
|---|---|---|---|---|
"""
        + "".join(_setting(name, field) for name, field in model.model_fields.items() if name not in elsewhere)
        for title, model, elsewhere in sections
    )


def _setting(name: str, field: FieldInfo) -> str:
    default = f"`{field.default}`" if str(field.default) else "none"
    example = f"`{field.examples[0]}`" if field.examples else ""
    limits = ", ".join([*_unit(name), *_limits(field)])
    cells = (f"`{name.upper()}`", default, limits, str(field.description), example)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _unit(name: str) -> list[str]:
    return [unit for unit in ("seconds", "days", "months", "bytes") if name.endswith(f"_{unit}")]


def _limits(field: FieldInfo) -> list[str]:
    """As the settings class checks them."""
    words = {"ge": "at least {}", "gt": "more than {}", "le": "at most {}", "lt": "less than {}"}
    limits = [
        words[name].format(getattr(limit, name)) for limit in field.metadata for name in words if hasattr(limit, name)
    ]
    patterns = [limit.pattern for limit in field.metadata if getattr(limit, "pattern", None)]
    return limits + [_in_words(pattern) for pattern in patterns]


def _in_words(pattern: str) -> str:
    """A choice of words as that, any other pattern as it is."""
    choice = re.fullmatch(r"\^\(?([\w|]+)\)?\$", pattern)
    return choice[1].replace("|", " or ") if choice else f"`{pattern}`"


def api() -> str:
    """docs/api.md."""
    signup = create_signup_app(SignupSettings(signup_token_keys="k" * 32))
    mail = create_mail_app(MailSettings())
    documents = {"Signup": signup.openapi(), "Mail": mail.openapi()}
    slugs = [set(_slugs(call)) for document in documents.values() for *_, call in _calls(document)]
    common = {slug for slug in set().union(*slugs) if sum(slug in some for some in slugs) > 0.8 * len(slugs)}
    return (
        API
        + "".join(_service(title, document, common) for title, document in documents.items())
        + _problems(documents, common)
    )


def _calls(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            yield method.upper(), path, call


def _service(title: str, document: dict[str, Any], common: set[str]) -> str:
    by_tag: dict[str, list[str]] = {}
    for method, path, call in _calls(document):
        takes = ", ".join(f"`{name}`" for name in _takes(document, call))
        answers = [status for status in call["responses"] if status.startswith("2")]
        answers += [f"`{slug}`" for slug in _slugs(call) if slug not in common | {"unauthorized", "forbidden"}]
        key, does = _key_and_summary(call)
        row = f"| `{method} {path}` | {key} | {does} | {takes} | {', '.join(answers)} |\n"
        by_tag.setdefault(call["tags"][0].capitalize(), []).append(row)
    return f"\n## {title}\n" + "".join(
        f"\n### {title}: {tag}\n\n| call | scope | does | takes | answers |\n|---|---|---|---|---|\n" + "".join(rows)
        for tag, rows in by_tag.items()
    )


def _key_and_summary(call: dict[str, Any]) -> tuple[str, str]:
    text = call["description"].partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")
    scope = re.search(r"the scope `([a-z:]+)`", call["description"])
    security = call.get("security") or [{}]
    key = f"`{scope[1]}`" if scope else "any key"
    if {} in security:
        key = f"none, or {key}" if len(security) > 1 else "none"
    return key, text


def _takes(document: dict[str, Any], call: dict[str, Any]) -> Iterator[str]:
    for parameter in call.get("parameters", []):
        if parameter["in"] != "path":
            yield parameter["name"] + ("" if parameter.get("required") else "?")
    schema = call.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    model = document["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], schema)
    for name in model.get("properties", {}):
        yield name + ("" if name in model.get("required", []) else "?")


_PROBLEM = re.compile(r"^(?:- )?`([a-z0-9-]+)`: (.+?)(?=^- `|\Z)", re.MULTILINE | re.DOTALL)


def _slugs(call: dict[str, Any]) -> list[str]:
    found = (_PROBLEM.findall(answer["description"]) for answer in call["responses"].values())
    return [slug for problems in found for slug, _ in problems]


def _problems(documents: dict[str, dict[str, Any]], common: set[str]) -> str:
    rows: dict[str, str] = {}
    for document in documents.values():
        for *_, call in _calls(document):
            for status, answer in call["responses"].items():
                for slug, text in _PROBLEM.findall(answer["description"]):
                    words = " ".join(text.split()).replace("|", "\\|")
                    rows[slug] = f"| `{slug}` | {status} | {'nearly any call' if slug in common else ''} | {words} |\n"
    table = "".join(rows[slug] for slug in sorted(rows))
    return f"\n## Problems\n\n| slug | status | answered by | meaning |\n|---|---|---|---|\n{table}"


def decisions() -> str:
    """docs/decisions/README.md."""
    records = sorted(file for file in (ROOT / "docs" / "decisions").glob("*.md") if file.name != "README.md")
    lines = [f"- [{_title(file)}]({file.name})\n" for file in records]
    return DECISIONS + "".join(lines)


def llms() -> str:
    """llms.txt, as https://llmstxt.org describes."""
    sections: dict[str, list[str]] = {}
    for section, page in entries(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]):
        if not page.endswith("/*"):
            file = ROOT / in_repository(page)
            line = f"- [{_title(file)}]({in_repository(page)}): {_first_sentence(file)}\n"
            sections.setdefault(section, []).append(line)
    return LLMS + "".join(f"\n## {title}\n\n" + "".join(lines) for title, lines in sections.items())


def _title(file: Path) -> str:
    return file.read_text().partition("\n")[0].removeprefix("# ").replace("`", "")


def _first_sentence(file: Path) -> str:
    """Of the first paragraph that is prose; without links, which lead from where the page is."""
    prose = (part for part in file.read_text().split("\n\n") if re.match(r"(?!```)[\w*`\[]", part))
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", " ".join(next(prose, "").split()))
    sentences = re.split(r"(?<=[.:;]) (?=[A-Z`*])", text)
    told = [sentence for sentence in sentences if not sentence.startswith("Written by")]
    return (told or sentences)[0].rstrip(":;.") + "."


def compose(text: str) -> str:
    """docker-compose.yml with the settings that it passes on to each service written anew."""
    # Those that it gives a value itself stand below, and so do the owner's URLs, at the migrations.
    file = yaml.safe_load(text)
    wired = {name for block in ("x-signup", "x-mail") for name, value in file[block].items() if value is not None}
    kept_out = wired | {"SIGNUP_DATABASE_URL", "MAIL_DATABASE_URL"}
    both = ServiceSettings.model_fields.keys()
    blocks = {
        "both": both,
        "signup": SignupSettings.model_fields.keys() - both,
        "mail": MailSettings.model_fields.keys() - both,
    }
    lines = []
    for name, fields in blocks.items():
        lines.append(f"x-{name}-settings: &{name}-settings")
        lines += [f"  {variable}:" for variable in sorted({field.upper() for field in fields} - kept_out)]
    return _between(text, SETTINGS_BEGIN, "\n".join([*lines, ""]), SETTINGS_END)


def _between(text: str, begin: str, written: str, end: str) -> str:
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{written}{end}{after}"


def architecture(text: str) -> str:
    """docs/architecture.md with its picture written anew from the imports."""
    return _between(text, BEGIN, _rooms(), END)


def _rooms() -> str:
    lines = ["```mermaid", "flowchart TD"]
    for package in ("services.signup", "services.mail", "shared"):
        arrows = _arrows(package)
        lines.append(f"    subgraph {package.rpartition('.')[2]}")
        lines += [f"        {package}.{one}[{one}/]" for one in sorted({room for arrow in arrows for room in arrow})]
        lines += [f"        {package}.{source} --> {package}.{target}" for source, target in sorted(arrows)]
        lines.append("    end")
    lines += ["    signup --> shared", "    mail --> shared", "    signup -. HTTP .-> mail"]
    return "\n".join([*lines, "```", ""])


def _arrows(package: str) -> set[tuple[str, str]]:
    """Which room of `package` imports from which."""
    folder = ROOT / package.replace(".", "/")
    rooms = {child.name for child in folder.iterdir() if (child / "__init__.py").exists()}
    arrows = set()
    for room in rooms:
        for file in (folder / room).rglob("*.py"):
            above = (package, *file.relative_to(folder).parts[:-1])
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ImportFrom):
                    base = ".".join(above[: len(above) - node.level + 1]) if node.level else ""
                    names = [f"{base}.{node.module or ''}.{alias.name}".replace("..", ".") for alias in node.names]
                    targets = {name.strip(".").removeprefix(f"{package}.").partition(".")[0] for name in names}
                    arrows |= {(room, target) for target in targets & rooms if target != room}
    return arrows


def main() -> None:
    (ROOT / "docs" / "states.md").write_text(states())
    (ROOT / "docs" / "smtp-outcomes.md").write_text(smtp_outcomes())
    (ROOT / "docs" / "metrics.md").write_text(metrics())
    (ROOT / "docs" / "settings.md").write_text(settings())
    page = ROOT / "docs" / "architecture.md"
    page.write_text(architecture(page.read_text()))
    (ROOT / "docs" / "api.md").write_text(api())
    (ROOT / "docs" / "decisions" / "README.md").write_text(decisions())
    (ROOT / "llms.txt").write_text(llms())
    containers = ROOT / "docker-compose.yml"
    containers.write_text(compose(containers.read_text()))


if __name__ == "__main__":
    main()
