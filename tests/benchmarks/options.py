"""What the command line says about a run. None leaves a value to the benchmark: its full default, or its quick one."""

from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T", int, float)


@dataclass(frozen=True)
class Options:
    quick: bool = False
    rounds: int | None = None
    seconds: float | None = None
    steady_seconds: float | None = None
    idle_seconds: float | None = None
    rate: float | None = None
    people: int | None = None
    corpus: str | None = None

    def choose(self, said: T | None, *, full: T, quick: T) -> T:
        """`said` if there is one, else the default of this kind of run."""
        if said is not None:
            return said
        return quick if self.quick else full
