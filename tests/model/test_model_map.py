"""docs/model.md maps the model to the product: each step, statement and change of state is real."""

import re

import pytest

from services.mail.delivery.states import MAIL_TRANSITIONS, MailState

from .__main__ import MODEL, TWINS, steps_of_the_model
from .page import PAGE, ROOT, steps
from .replay import first_strange_change

STEPS = {step.name: step for step in steps()}
CHANGES = {change for step in STEPS.values() for change in step.changes}


def test_each_step_of_the_model_has_a_row_and_the_page_has_no_other() -> None:
    assert STEPS.keys() == steps_of_the_model()


def test_each_step_names_a_statement_that_exists() -> None:
    for step in STEPS.values():
        text = (ROOT / step.file).read_text(encoding="utf-8")
        assert re.search(rf"^{step.statement} = ", text, re.MULTILINE), step.name


def test_the_model_changes_no_state_that_the_code_does_not_change() -> None:
    allowed = {(old, new) for old, causes in MAIL_TRANSITIONS.items() for news in causes.values() for new in news}
    assert {change for change in CHANGES if change[0] != "absent"} <= {(str(old), str(new)) for old, new in allowed}


def test_every_outcome_of_an_attempt_is_in_the_model() -> None:
    after_sending = {
        str(new) for cause, news in MAIL_TRANSITIONS[MailState.SENDING].items() for new in news if cause != "restore"
    }
    assert {new for old, new in CHANGES if old == "sending"} == after_sending


def test_each_twin_lacks_a_guard_that_the_model_has() -> None:
    text = MODEL.read_text(encoding="utf-8")
    for twin in TWINS:
        assert re.search(rf"^#ifn?def {twin.define}$", text, re.MULTILINE), twin.define
        assert re.search(rf"^ltl {twin.promise} ", text, re.MULTILINE), twin.promise
        assert f"| `{twin.define}` |" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("states", "strange"),
    [
        (["queued", "sent"], None),
        (["queued", "deferred", "queued", "deferred", "sent"], None),
        (["queued", "uncertain"], None),
        (["queued", "failed"], None),
        (["sent"], ("absent", "sent")),
        (["queued", "sent", "sent"], ("sent", "sent")),
        (["queued", "failed", "queued"], ("failed", "queued")),
        (["queued", "uncertain", "failed"], ("uncertain", "failed")),
    ],
)
def test_a_history_is_replayed_step_by_step(states: list[str], strange: tuple[str, str] | None) -> None:
    assert first_strange_change(states) == strange
