"""The catalogue fits the tree: each mutation can be applied, and its tests name the promise that it breaks."""

import ast
from collections import Counter
from functools import cache

import pytest

from tests.support.promises import MARK

from .catalogue import CATALOGUE
from .mutation import PROMISES, ROOT, Mutation
from .page import PAGE


@cache
def _marks(file: str) -> dict[str, set[str]]:
    """The promises that each test of the file is marked with."""
    return {
        node.name: {
            str(argument.value)
            for mark in node.decorator_list
            if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Attribute) and mark.func.attr == MARK
            for argument in mark.args
            if isinstance(argument, ast.Constant)
        }
        for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("mutation", CATALOGUE, ids=lambda mutation: mutation.name)
def test_a_mutation_can_be_applied_and_its_tests_name_its_promise(mutation: Mutation) -> None:
    text = (ROOT / mutation.file).read_text(encoding="utf-8")
    broken = mutation.applied_to(text)
    assert broken != text
    ast.parse(broken)
    assert mutation.tests
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert mutation.promise in _marks(file)[name.partition("[")[0]], f"{test} is not marked {mutation.promise}"


def test_every_promise_has_at_least_two_mutations_and_names_are_unique() -> None:
    assert set(Counter(mutation.promise for mutation in CATALOGUE)) == set(PROMISES)
    assert min(Counter(mutation.promise for mutation in CATALOGUE).values()) > 1
    assert max(Counter(mutation.name for mutation in CATALOGUE).values()) == 1


def test_the_page_has_a_row_for_every_mutation_and_says_that_it_was_caught() -> None:
    rows = [line.split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    shown = {row[2].replace("*", "").split()[0]: row[4] for row in rows if row[1].strip() in PROMISES}
    assert shown.keys() == {mutation.name for mutation in CATALOGUE}, "run `python -m tests.mutations --write`"
    assert not [name for name, caught in shown.items() if "NOT" in caught]
