"""One deliberately broken line."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROMISES = ("P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "webhooks")


@dataclass(frozen=True)
class Mutation:
    """`old` stands exactly once in `file`. `breaks` says why the promise does not hold with `new` in its place.

    `tests` are node IDs, the narrowest that hold the promise; each carries the mark `promise` with its name. With
    `fixed`, CI runs it each time.
    """

    name: str
    promise: str
    file: str
    old: str
    new: str
    breaks: str
    tests: tuple[str, ...]
    fixed: bool = False

    def applied_to(self, text: str) -> str:
        """The text of `file` with the broken line. Raises ValueError unless `old` stands in it exactly once."""
        if (found := text.count(self.old)) != 1:
            raise ValueError(f"{self.name}: its old text stands {found} times in {self.file}, not once")
        return text.replace(self.old, self.new)
