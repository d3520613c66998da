"""Challenges that cost a caller without a key some computing: proof of work in ALTCHA's SHA-256 scheme (ADR 0029).

A challenge is the hash of a salt and a number; its solution is the number. The signature shows that this service made
it, the salt says until when it is good. `altcha` makes and checks them; `used_challenges` ensures that each is good
once.
"""

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from altcha.v1 import ChallengeOptions, Payload, create_challenge, verify_solution

from ..verification_token import TokenRing
from .attack_switch import AttackSwitch
from .used_challenges import LIFETIME_SECONDS, NOT_NEEDED, Proof

# Half of them are tried on average: about a second in a browser on a phone, while its user still types, and 20 ms in a
# program. That costs a flood from one machine its speed; more would shut out old phones before it stopped a botnet.
MAX_NUMBER = 50_000
_PURPOSE = b"counterfoil challenge 1\0"


class Challenges:
    """Makes challenges and reads solutions. The first of the ring's secrets signs, all verify."""

    def __init__(self, ring: TokenRing) -> None:
        self._keys = ring.derive(_PURPOSE)

    def make(self, *, lifetime_seconds: int = LIFETIME_SECONDS) -> dict[str, Any]:
        """A new challenge, in the format that ALTCHA's widget reads."""
        expires = datetime.now(UTC) + timedelta(seconds=lifetime_seconds)
        made = create_challenge(ChallengeOptions(max_number=MAX_NUMBER, hmac_key=self._keys[0], expires=expires))
        return {
            "algorithm": made.algorithm,
            "challenge": made.challenge,
            "maxnumber": made.max_number,
            "salt": made.salt,
            "signature": made.signature,
        }

    def solved_id(self, solution: str | None) -> bytes | None:
        """The ID of the solved challenge: SHA-256 of what was signed. None: not made here, wrong or expired."""
        payload = _read(solution or "")
        key = None if payload is None else next((key for key in self._keys if _is_signed(payload, key)), None)
        if payload is None or key is None or not verify_solution(payload, key)[0]:
            return None
        return hashlib.sha256(payload.challenge.encode()).digest()


class ChallengePolicy:
    """Decides which requests need a challenge (SIGNUP_CHALLENGE). One for each process."""

    def __init__(self, mode: str, challenges: Challenges, switch: AttackSwitch) -> None:
        self.mode = mode
        self.challenges = challenges
        self.switch = switch

    def judge(self, solution: str | None, *, keyed: bool = False) -> Proof:
        """Count this request, and read its solution if it needs one. Callers with a key are not asked."""
        if keyed or self.mode == "off":
            return NOT_NEEDED
        if self.mode == "under_attack":
            self.switch.count()
            if not self.switch.on:
                return NOT_NEEDED
        return Proof(needed=True, challenge_id=self.challenges.solved_id(solution))


def _read(solution: str) -> Payload | None:
    """The parts of a solution: base64 of JSON, as the widget submits it. Other members are ignored."""
    try:
        read = orjson.loads(base64.b64decode(solution, validate=True))
    except ValueError:
        return None
    if not isinstance(read, dict) or read.get("algorithm") != "SHA-256" or type(read.get("number")) is not int:
        return None
    texts = [read.get(name) for name in ("challenge", "salt", "signature")]
    if not all(isinstance(text, str) for text in texts):
        return None
    challenge, salt, signature = map(str, texts)
    return Payload("SHA-256", challenge, read["number"], salt, signature)


def _is_signed(payload: Payload, key: bytes) -> bool:
    """In constant time: altcha's own comparison is not."""
    expected = hmac.digest(key, payload.challenge.encode(), hashlib.sha256).hex()
    return hmac.compare_digest(expected.encode(), payload.signature.encode())
