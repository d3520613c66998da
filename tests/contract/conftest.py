"""The contract tests run against the whole product."""

from tests.support.running import ledgers, running_stack

__all__ = ["ledgers", "running_stack"]
