"""That each challenge is good once (ADR 0029): what a request shows for itself, and how used ones are forgotten.

`queries.SIGN_UP_IF_CHALLENGES_ARE_UNUSED` uses a challenge up, in the commit of the signup.
"""

from dataclasses import dataclass

from shared.db.pool import Pool

from ..errors import ChallengeRequired

LIFETIME_SECONDS = 600
# For longer than they are good, also where the clocks of API and database differ.
_REMEMBERED_SECONDS = 2 * LIFETIME_SECONDS
_BATCH = 10_000

DELETE_OLD_USED_CHALLENGES = """
WITH gone AS (
    DELETE FROM used_challenges WHERE id = ANY(ARRAY(
        SELECT id FROM used_challenges WHERE used_at < now() - make_interval(secs => $1) LIMIT $2
    )) RETURNING id
)
SELECT count(*) FROM gone
"""


def spending(challenges: str) -> str:
    """The CTE `spent`: uses up those that the query `challenges` lists, and returns the ones that were good.

    They must differ, and come in one order: two such statements never deadlock. It is read before users are locked.
    """
    return f"""spent AS (
    INSERT INTO used_challenges (id) {challenges} ON CONFLICT DO NOTHING RETURNING id
)"""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a request shows for itself. `challenge_id` is that of a solved challenge, which may have been used."""

    needed: bool
    challenge_id: bytes | None = None

    @property
    def missing(self) -> bool:
        return self.needed and self.challenge_id is None

    def to_use(self) -> bytes | None:
        """The challenge that the request uses up; None when none is needed. Raises ChallengeRequired."""
        if self.missing:
            raise ChallengeRequired
        return self.challenge_id


NOT_NEEDED = Proof(needed=False)


class UsedChallengeCleanup:
    """A loop (`shared.worker.loops`): forgets used challenges that have expired."""

    name = "used-challenges"

    def __init__(self, pool: Pool, *, batch: int = _BATCH) -> None:
        self._pool = pool
        self._batch = batch

    async def run_once(self) -> bool:
        """Delete one batch in one commit. Returns whether more may be due."""
        deleted: int = await self._pool.fetchval(DELETE_OLD_USED_CHALLENGES, float(_REMEMBERED_SECONDS), self._batch)
        return deleted == self._batch
