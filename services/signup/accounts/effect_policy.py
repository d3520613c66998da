"""The effect policy: the settings that a use case needs, and the ones that it pins in an outbox row."""

from dataclasses import dataclass

import orjson

from ..brand import Brand
from ..outbox.effect_registry import NO_EFFECTS, Owed, effects_owed
from ..settings import Settings
from ..verification_token import TokenRing


@dataclass(frozen=True)
class EffectPolicy:
    cooldown_seconds: float
    give_up_seconds: float
    # JSON, pinned in the payload of a mail: its `link` and, where one is set, the `brand`. A retry has the same bytes
    # even after a settings change.
    pinned: str
    owed: Owed = NO_EFFECTS
    # Mails that callers without a key may cause; 0: any number.
    mails_per_address_per_day: int = 0
    mails_per_hour: int = 0

    @classmethod
    def of(cls, settings: Settings, ring: TokenRing) -> "EffectPolicy":
        link = {
            "base": settings.signup_public_url.rstrip("/"),
            "key_id": ring.signing_key_id,
            "ttl_seconds": settings.signup_token_ttl_seconds,
        }
        brand = Brand.of(settings).variables()
        return cls(
            cooldown_seconds=settings.signup_mail_cooldown_seconds,
            give_up_seconds=settings.signup_give_up_seconds,
            pinned=orjson.dumps({"link": link} | ({"brand": brand} if brand else {})).decode(),
            owed=effects_owed(settings.signup_effects),
            mails_per_address_per_day=settings.signup_mails_per_address_per_day,
            mails_per_hour=settings.signup_mails_per_hour,
        )
