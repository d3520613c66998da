"""A check that is code may fail in any way: it says so, and the other checks run."""

from collections.abc import Sequence

import pytest

from shared.audit.sanity_checks import Checks, CodedCheck, Finding, SanityCheck
from shared.audit.severity import Severity
from tests.support.databases import Clone

SEVERITIES = {"code": Severity.WARNING, "query": Severity.RED}
QUERY = SanityCheck("query", "", "SELECT 'row' AS id, 'is wrong' AS what")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("network of asa@x.example"), "failed: OSError"),
        (ValueError("asa@x.example"), "failed: ValueError"),
        (TimeoutError(), "stopped after 10 s"),
    ],
)
async def test_a_check_whose_code_fails_says_so_and_keeps_no_other_from_running(
    either_database: Clone, error: Exception, said: str
) -> None:
    async def find() -> Sequence[Finding]:
        raise error

    checks = Checks(either_database.database.pool, (CodedCheck("code", "", find), QUERY), SEVERITIES, actor="test")
    assert await checks.run_if_due(300)
    failed, found = await checks.results()
    assert (failed["error"], failed["violations"]) == (said, 0)
    assert (found["error"], found["violations"], found["examples"]) == (None, 1, [{"id": "row", "what": "is wrong"}])
