"""The caller of a use case. Which key it used is known to `shared.http.authentication`."""

from dataclasses import dataclass

from .addresses import is_plain_text

# How signup's console says on whose behalf it calls. The name is percent-encoded UTF-8.
INTERFACE_HEADER, OPERATOR_HEADER = "X-Counterfoil-Interface", "X-Counterfoil-Operator"
CONSOLE = "console"
# The scope of a key that may name the operator who acts: the console's, behind single sign-on (ADR 0037).
NAMES_OPERATORS = "operators:name"
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Principal:
    """`console_operator`: who acts through the console; None for every other use of the key."""

    client: str
    key_id: str
    scopes: frozenset[str]
    console_operator: str | None = None

    @property
    def actor(self) -> str:
        """The actor, as history records it."""
        if self.console_operator is not None:
            return console_actor(self.console_operator)
        return f"key:{self.client}/{self.key_id}"


def console_actor(operator: str) -> str:
    """The actor of everything that an operator does in the console, in the history of both services."""
    return f"{CONSOLE}:{operator}"


def is_operator_name(name: str) -> bool:
    """Whether history may hold it: printable text on one line, of at most 200 characters."""
    return 0 < len(name) <= _LONGEST_NAME and is_plain_text(name) and name == name.strip()
