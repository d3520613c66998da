"""The caller of a use case. Which key it used is known to `shared.http.authentication`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    client: str
    key_id: str
    scopes: frozenset[str]

    @property
    def actor(self) -> str:
        """The actor, as history records it."""
        return f"key:{self.client}/{self.key_id}"
