"""Links that sign in once: `make run` prints one. The key in it is sealed, and the first use spends it for ever.

The mark of a spent link lies among the used challenges, which the worker forgets when no link can be good any more.
"""

import hashlib
import secrets

from shared.db.pool import Pool

from ..accounts.used_challenges import LIFETIME_SECONDS
from ..verification_token import TokenRing
from .mount import PATH
from .sealing import Seal

SIGN_IN_PATH = f"{PATH}/sign-in"

SPEND_LINK = "INSERT INTO used_challenges (id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING true"


class OneTimeLinks:
    def __init__(self, ring: TokenRing) -> None:
        self._seal = Seal(ring, b"link")

    def make(self, key: str) -> str:
        """The path and query of a link that signs in with this key, good for ten minutes."""
        return f"{SIGN_IN_PATH}?once={self._seal.seal({'key': key, 'nonce': secrets.token_hex(16)})}"

    def is_good(self, sealed: str) -> bool:
        """Whether it was made here and is young enough. It may have been used."""
        return self._seal.open(sealed, max_age_seconds=LIFETIME_SECONDS) is not None

    async def spend(self, pool: Pool, sealed: str) -> str | None:
        """The key in it, once; None when it is spent, too old or not made here. Committed when this returns."""
        content = self._seal.open(sealed, max_age_seconds=LIFETIME_SECONDS)
        if content is None:
            return None
        mark = hashlib.sha256(b"counterfoil console link\0" + content["nonce"].encode()).digest()
        return content["key"] if await pool.fetchval(SPEND_LINK, mark) else None
