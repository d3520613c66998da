"""docs/model.md maps the model to the product: each step, statement and change of state is real."""

import re
from pathlib import Path

from services.mail.delivery.states import MAIL_TRANSITIONS, MailState

from .__main__ import MODEL, TWINS, steps_of_the_model

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "model.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \|(.*)\| `(services/[\w/.]+)` \| `(\w+)` \|$", re.MULTILINE)
STEPS = {match[1]: (match[2], match[3], match[4]) for match in ROW.finditer(PAGE)}


def _changes(states: str) -> set[tuple[str, str]]:
    before, _, after = states.partition("→")
    return {(old, new) for old in re.findall(r"`(\w+)`", before) for new in re.findall(r"`(\w+)`", after)}


def test_each_step_of_the_model_has_a_row_and_the_page_has_no_other() -> None:
    assert STEPS.keys() == steps_of_the_model()


def test_each_step_names_a_statement_that_exists() -> None:
    for step, (_, file, statement) in STEPS.items():
        text = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^{statement} = ", text, re.MULTILINE), step


def test_the_model_changes_no_state_that_the_code_does_not_change() -> None:
    allowed = {(old, new) for old, causes in MAIL_TRANSITIONS.items() for news in causes.values() for new in news}
    changes = {change for states, _, _ in STEPS.values() for change in _changes(states)}
    assert {change for change in changes if change[0] != "absent"} <= {(str(old), str(new)) for old, new in allowed}


def test_every_outcome_of_an_attempt_is_in_the_model() -> None:
    changes = {change for states, _, _ in STEPS.values() for change in _changes(states)}
    after_sending = {
        str(new) for cause, news in MAIL_TRANSITIONS[MailState.SENDING].items() for new in news if cause != "restore"
    }
    assert {new for old, new in changes if old == "sending"} == after_sending


def test_each_twin_lacks_a_guard_that_the_model_has() -> None:
    text = MODEL.read_text(encoding="utf-8")
    for twin in TWINS:
        assert re.search(rf"^#ifn?def {twin.define}$", text, re.MULTILINE), twin.define
        assert re.search(rf"^ltl {twin.promise} ", text, re.MULTILINE), twin.promise
        assert f"| `{twin.define}` |" in PAGE
