"""The text of an error that a library raised is never used: `describe` says what may be repeated."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.databases import ROOT

LIBRARIES = {"asyncpg", "httpx", "httpcore", "aiosmtplib", "smtplib", "redis", "sqlalchemy", "redis_errors"}
# Names in capitals are tuples of such errors, like UNAVAILABLE.
CLASSES = {"RedisError", "OSError", "Exception", "BaseException", "PostgresError", "HTTPError"}
ALLOWED = {
    Path("services/signup/cli"): "commands print to the terminal of the person who runs them",
    Path("services/mail/intake/template_engine.py"): "the start says what is wrong with a template of the operator",
}


def _is_foreign(kind: ast.expr) -> bool:
    match kind:
        case ast.Tuple():
            return any(map(_is_foreign, kind.elts))
        case ast.Attribute(value=ast.Name(id=module)):
            return module in LIBRARIES
        case ast.Attribute():
            return _is_foreign(kind.value)
        case ast.Name():
            return kind.id in CLASSES or kind.id.isupper()
        case _:
            return False


def _is_text_of(node: ast.AST, name: str) -> bool:
    def is_error(value: ast.AST) -> bool:
        match value:
            case ast.Name():
                return value.id == name
            case ast.BoolOp():
                return any(map(is_error, value.values))
            case _:
                return False

    match node:
        case ast.FormattedValue():
            return is_error(node.value)
        case ast.Call(func=ast.Name(id="str" | "repr"), args=[argument]):
            return is_error(argument)
        case ast.keyword(arg="error"):
            return is_error(node.value)
        case _:
            return False


def _texts_of_foreign_errors(tree: ast.AST) -> Iterator[int]:
    for handler in ast.walk(tree):
        if isinstance(handler, ast.ExceptHandler) and handler.name and handler.type and _is_foreign(handler.type):
            for node in ast.walk(handler):
                if _is_text_of(node, handler.name) and not _is_judged(handler, node):
                    yield getattr(node, "lineno", handler.lineno)


def _is_judged(handler: ast.ExceptHandler, node: ast.AST) -> bool:
    """`str(error) if isinstance(error, OurError) else …` uses the text of our own error only."""
    return any(
        isinstance(test, ast.IfExp)
        and node in ast.walk(test.body)
        and isinstance(test.test, ast.Call)
        and ast.unparse(test.test.func) == "isinstance"
        for test in ast.walk(handler)
    )


def test_no_handler_repeats_what_a_library_says() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for folder in ("services", "shared")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not any(path.is_relative_to(ROOT / exempt) for exempt in ALLOWED)
        for line in _texts_of_foreign_errors(ast.parse(path.read_text()))
    ]
    assert found == []


def test_the_rule_sees_each_way_of_using_the_text() -> None:
    for use in ("str(error)", "repr(error)", 'f"{error or 1}"', 'f"{error!r}"', "log(error=error)"):
        for kind in ("OSError", "(ValueError, httpx.HTTPError)", "UNAVAILABLE", "redis.exceptions.RedisError"):
            tree = ast.parse(f"try: ...\nexcept {kind} as error: {use}")
            assert list(_texts_of_foreign_errors(tree)) == [2], (kind, use)
