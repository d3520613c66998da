"""How long to wait before a retry. Pure: the random source is an argument."""

import random
from collections.abc import Callable


def full_jitter(
    attempt: int, *, base_seconds: float, cap_seconds: float, draw: Callable[[float, float], float] = random.uniform
) -> float:
    """Seconds to wait before retry number `attempt` (1 is the first): random, up to the doubling bound.

    Full jitter spreads many failing clients best (AWS Architecture Blog, "Exponential Backoff And Jitter").
    """
    # 2**30 times the base exceeds every cap in use; the limit keeps the power small.
    bound = min(cap_seconds, base_seconds * 2 ** min(attempt - 1, 30))
    return draw(0.0, bound)


def equal_jitter(
    attempt: int, *, base_seconds: float, cap_seconds: float, draw: Callable[[float, float], float] = random.uniform
) -> float:
    """Like `full_jitter`, but at least half of the bound: a peer that failed, or asked for a pause, gets one."""
    bound = min(cap_seconds, base_seconds * 2 ** min(attempt - 1, 30))
    return draw(bound / 2, bound)
