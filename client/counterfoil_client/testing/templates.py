"""The templates that a fake knows by name. It checks their variables and renders nothing."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UnknownTemplate, VariablesRejected
from .replies import Refusal, at


@dataclass(frozen=True, slots=True)
class FakeTemplate:
    """Names of variables. Every mail needs the required ones and may have no others."""

    required: Collection[str] = ()
    optional: Collection[str] = ()
    on_uncertain: str = "hold"


def check_variables(templates: Mapping[str, FakeTemplate] | None, content: Mapping[str, Any]) -> None:
    """Raises Refusal. `templates` is None for a fake that takes every template and variable."""
    name = content.get("template")
    if templates is None or name is None:
        return
    template = templates.get(name)
    if template is None:
        raise Refusal(UnknownTemplate, 422, [at("/template", "There is no such template")])
    given = content.get("variables", {}).keys()
    faults = dict.fromkeys(given - {*template.required, *template.optional}, "The template has no such variable")
    faults |= dict.fromkeys(template.required - given, "Is required")
    if faults:
        raise Refusal(VariablesRejected, 422, [at(f"/variables/{key}", faults[key]) for key in sorted(faults)])
