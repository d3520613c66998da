"""Types the tutorial, all of it and in order, as its reader does: `make run` is the real one."""

import shutil
from collections.abc import Iterator

import pytest

from tests.tutorial.page import FIRST, Saved, Typed, steps
from tests.tutorial.terminals import Terminals


@pytest.fixture
def terminals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminals]:
    if missing := [name for name in ("bash", "curl", "make") if shutil.which(name) is None]:
        pytest.skip(f"the tutorial's commands need {' and '.join(missing)}, which is not installed")
    terminals = Terminals(tmp_path_factory.mktemp("tutorial"))
    try:
        yield terminals
    finally:
        terminals.close()


@pytest.mark.timeout(900)  # `make run` starts everything: 18 s of processor time
def test_every_block_of_the_tutorial_does_what_the_page_says(terminals: Terminals) -> None:
    for step in steps():
        if isinstance(step, Saved):
            (terminals.checkout / step.path).write_text(step.text, encoding="utf-8")
            continue
        printed = terminals.type_first(step) if step.terminal == FIRST else terminals.type_second(step)
        assert step.matches(printed), f"$ {step.command}\n{printed}"


@pytest.mark.parametrize(
    ("prints", "printed", "is_so"),
    [
        ("", "", True),
        ("", "more", False),
        ("1 owed", "1 owed", True),
        ("1 owed", "10 owed", False),
        ('{"id":"…","state":"sent",…', '{"id":"7","state":"sent","to":1}', True),
        ('{"id":"…","state":"sent",…', '{"id":"7",\n"state":"sent","to":1}', False),
        ("…\nready in … s\n…", "starting …\nready in 2.1 s\n  signup\n  mail", True),
        ("…\nready in … s\n…", "ready in 2.1 s", True),
        ("…\nready in … s\n…", "starting …\nerror", False),
    ],
)
def test_an_ellipsis_stands_for_text_within_a_line_or_for_lines(prints: str, printed: str, is_so: bool) -> None:
    assert Typed(FIRST, "", prints).matches(printed) == is_so
