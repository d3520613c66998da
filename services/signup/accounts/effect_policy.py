"""The policy on which effects are owed: what a use case needs from the settings, and what an outbox row pins of them."""

from dataclasses import dataclass

import orjson

from ..outbox.effect_registry import NOTHING_BESIDE, Owed, effects_owed
from ..settings import Settings
from .verification_token import TokenRing


@dataclass(frozen=True)
class EffectPolicy:
    cooldown_seconds: float
    give_up_seconds: float
    # Pinned in the row as `link`: a retry is the same bytes whatever has been set otherwise by then.
    link: str
    owed: Owed = NOTHING_BESIDE

    @classmethod
    def of(cls, settings: Settings, ring: TokenRing) -> "EffectPolicy":
        link = {
            "base": settings.signup_public_url.rstrip("/"),
            "key_id": ring.signing_key_id,
            "ttl_seconds": settings.signup_token_ttl_seconds,
        }
        return cls(
            cooldown_seconds=settings.signup_mail_cooldown_seconds,
            give_up_seconds=settings.signup_give_up_seconds,
            link=orjson.dumps(link).decode(),
            owed=effects_owed(settings.signup_effects),
        )
