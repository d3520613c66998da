"""Severity of a finding: red mails the operators, a warning is counted. One line of configuration changes it."""

import enum
from collections.abc import Mapping

from ..contract.configuration import ConfigurationError


class Severity(enum.StrEnum):
    """`red` mails the operators, `warning` is counted."""

    RED = "red"
    WARNING = "warning"


def read_severities(variable: str, text: str, defaults: Mapping[str, Severity]) -> dict[str, Severity]:
    """`defaults` with the overrides in `text`: `name=warning,other=red`.

    Raises:
        ConfigurationError: unknown name or severity.
    """
    severities = dict(defaults)
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, severity = (word.strip() for word in part.partition("="))
        if name not in defaults:
            raise ConfigurationError(
                f"{variable}: no check or alert is named {name!r}; allowed: {', '.join(sorted(defaults))}"
            )
        try:
            severities[name] = Severity(severity)
        except ValueError:
            raise ConfigurationError(f"{variable}: {name} must be `red` or `warning`, not {severity!r}") from None
    return severities
