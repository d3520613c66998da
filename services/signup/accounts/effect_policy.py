"""The effect policy: the settings that a use case needs, and the ones that it pins in an outbox row."""

from dataclasses import dataclass

import orjson

from ..outbox.effect_registry import NO_EFFECTS, Owed, effects_owed
from ..settings import Settings
from ..verification_token import TokenRing


@dataclass(frozen=True)
class EffectPolicy:
    cooldown_seconds: float
    give_up_seconds: float
    # JSON, pinned in the row as `link`: a retry has the same bytes even after a settings change.
    link: str
    owed: Owed = NO_EFFECTS

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
