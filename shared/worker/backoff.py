"""How long to wait before trying again. Pure: the random source is an argument."""

import random
from collections.abc import Callable


def full_jitter(
    attempt: int,
    *,
    base_seconds: float,
    cap_seconds: float,
    draw: Callable[[float, float], float] = random.uniform,
) -> float:
    """Seconds to wait before retry number `attempt` (1 is the first): anywhere up to the doubling bound.

    Full jitter spreads a crowd of failures best (AWS Architecture Blog, "Exponential Backoff And Jitter").
    """
    # 2**30 bases are past every cap in use; the bound keeps the power small.
    bound = min(cap_seconds, base_seconds * 2 ** min(attempt - 1, 30))
    return draw(0.0, bound)


def equal_jitter(
    attempt: int,
    *,
    base_seconds: float,
    cap_seconds: float,
    draw: Callable[[float, float], float] = random.uniform,
) -> float:
    """As `full_jitter`, but never less than half of the bound: for a peer that asked to be left alone a while."""
    bound = min(cap_seconds, base_seconds * 2 ** min(attempt - 1, 30))
    return draw(bound / 2, bound)
