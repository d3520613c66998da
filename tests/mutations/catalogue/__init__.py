"""Every mutation, in the order of the promises."""

from ..mutation import Mutation
from . import acceptance, copies, ledgers, recovery, webhooks

CATALOGUE: tuple[Mutation, ...] = (
    *acceptance.MUTATIONS,
    *copies.MUTATIONS,
    *ledgers.MUTATIONS,
    *recovery.MUTATIONS,
    *webhooks.MUTATIONS,
)
