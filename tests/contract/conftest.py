"""The contracts are checked on the whole product."""

from tests.support.running import books, running_stack

__all__ = ["books", "running_stack"]
