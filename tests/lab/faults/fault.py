"""What a fault is. Its fields are its parameters, so that a record of a run names all of it."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from random import Random
from typing import Any, ClassVar, Self

from ..site import Site

# What a fault may disturb, besides what it breaks: signup need not say yes while it lasts (P2 speaks of all others).
SIGNUP = "signup"


class Fault(ABC):
    """One fault of a schedule. `begin` and `end` are each called once; after `end` all is as it was before."""

    # Shortest and longest, in seconds.
    lasts: ClassVar[tuple[float, float]] = (1.0, 5.0)

    @classmethod
    @abstractmethod
    def draw(cls, random: Random) -> Self:
        """A fault with parameters of chance."""

    @property
    @abstractmethod
    def target(self) -> str:
        """What it breaks. Two faults with one target do not overlap."""

    @property
    def disturbs(self) -> Collection[str]:
        return ()

    def lacks(self, site: Site) -> str | None:  # noqa: ARG002 - most faults need nothing
        """Why this machine cannot have it; None when it can."""
        return None

    @abstractmethod
    def begin(self, site: Site) -> None: ...

    @abstractmethod
    def end(self, site: Site) -> None: ...

    def parameters(self) -> dict[str, Any]:
        return vars(self).copy()
