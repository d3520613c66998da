"""Templates: loaded and checked once, rendered strictly. Missing or unknown variables are refused, never left blank.

`template_layers` says which files make a template, and whose are used.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import JsonValue

from shared.contract.addresses import is_plain_text
from shared.contract.fields import OnUncertain
from shared.contract.problems import at
from shared.process.template_faults import fault_at, refusal

from ..errors import UnknownTemplate, VariablesRejected
from .template_html import refuse_malformed
from .template_layers import Layers
from .template_loading import Loaded, Parts, read_templates
from .template_variables import breaks_line, example, sample

SHIPPED = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Rendered:
    subject: str
    text: str
    html: str
    locale: str  # the one used, which may be a fallback
    version: str


class Templates:
    """All templates of a folder. It reads no file after `load`."""

    def __init__(self, loaded: Mapping[str, Loaded]) -> None:
        # One process shares them, so they do not change.
        self._loaded = MappingProxyType(dict(loaded))

    @classmethod
    def load(cls, path: Path = SHIPPED, *, own: Path | None = None) -> "Templates":
        """Read, compile and test every template below `path`, with those below `own` over them, file by file.

        Raises:
            ConfigurationError: a template is incomplete, uses a variable that it does not declare, cannot be rendered
                with its required variables alone, or has malformed HTML; so a broken template stops the start, not
                the thousandth mail. The message names file and line.
        """
        templates = cls(read_templates(Layers.of(own, path) if own else Layers.of(path)))
        templates._render_samples()
        return templates

    def names(self) -> list[str]:
        return list(self._loaded)

    def describe(self, name: str) -> dict[str, Any]:
        """What a client needs to know to use the template, as JSON. Raises UnknownTemplate."""
        template = self._find(name)
        spec = template.spec
        return {
            "name": name,
            "description": spec.description,
            "version": template.version,
            "locales": sorted(template.locales),
            "default_locale": spec.default_locale,
            "variables": {key: variable.as_dict() for key, variable in spec.variables.items()},
            "required_variables": sorted(key for key, variable in spec.variables.items() if variable.required),
            "optional_variables": sorted(key for key, variable in spec.variables.items() if not variable.required),
            "on_uncertain": spec.on_uncertain,
            "on_uncertain_reason": spec.on_uncertain_reason,
        }

    def on_uncertain(self, name: str) -> OnUncertain:
        """The policy for an uncertain mail whose request sets none. Raises UnknownTemplate."""
        return self._find(name).spec.on_uncertain

    def render(self, name: str, locale: str | None, variables: Mapping[str, JsonValue]) -> Rendered:
        """Render in `locale` or the nearest locale available: `de-AT`, then `de`, then the template's default.

        Raises:
            UnknownTemplate: no template has this name.
            VariablesRejected: variables are missing, unknown or invalid, or make an invalid subject.
        """
        template = self._find(name)
        if errors := template.spec.faults(variables):
            raise VariablesRejected("; ".join(f"{e['pointer']}: {e['detail']}" for e in errors[:3]), errors=errors)
        chosen = _nearest(template, locale)
        parts = template.locales[chosen]
        context = {**variables, "locale": chosen}
        subject = parts.subject.render(context).removesuffix("\n")
        _check_subject(subject, parts, variables)
        return Rendered(subject, parts.text.render(context), parts.html.render(context), chosen, template.version)

    def preview(self, name: str) -> list[Rendered]:
        """Every locale, with the examples that the declaration gives. Raises UnknownTemplate."""
        return [self.render(name, locale, self._examples(name)) for locale in self._find(name).locales]

    def _find(self, name: str) -> Loaded:
        try:
            return self._loaded[name]
        except KeyError:
            detail = "No template has this name"
            raise UnknownTemplate(
                f"{detail}; available: {', '.join(self._loaded)}", errors=[at("/template", detail)]
            ) from None

    def _render_samples(self) -> None:
        for name, template in self._loaded.items():
            variables = template.spec.variables
            required = {key: sample(variable) for key, variable in variables.items() if variable.required}
            everything = {key: sample(variable) for key, variable in variables.items()}
            for locale, parts in template.locales.items():
                for values in (required, everything, self._examples(name)):
                    self._render_sample(name, locale, parts, values)

    def _render_sample(self, name: str, locale: str, parts: Parts, values: Mapping[str, JsonValue]) -> None:
        subject, text, html = (Path(part.filename or "") for part in (parts.subject, parts.text, parts.html))
        try:
            rendered = self.render(name, locale, values)
        except VariablesRejected as error:
            raise fault_at(subject, 1, f"the subject cannot be rendered: {error}") from None
        except Exception as error:  # noqa: BLE001 - a template may raise anything
            raise refusal(error, subject, "the template cannot be rendered") from None
        for file, content in ((text, rendered.text), (html, rendered.html)):
            if not content.strip():
                raise fault_at(file, 1, "nothing is left of this part when it is rendered")
        refuse_malformed(rendered.html, parts.html, {**values, "locale": locale})

    def _examples(self, name: str) -> dict[str, JsonValue]:
        return {key: example(variable) for key, variable in self._loaded[name].spec.variables.items()}


def _nearest(template: Loaded, locale: str | None) -> str:
    """Lookup of RFC 4647 section 3.4: shorten the tag from its end until it matches."""
    if locale is not None and locale in template.locales:
        return locale
    known = {tag.lower(): tag for tag in template.locales}
    tag = (locale or "").replace("_", "-").lower()
    while tag:
        if tag in known:
            return known[tag]
        tag = re.sub(r"(?:^|-)[^-]*$", "", tag)
    return template.spec.default_locale


def _check_subject(subject: str, parts: Parts, variables: Mapping[str, JsonValue]) -> None:
    if subject.strip() and is_plain_text(subject):
        return
    blank = not subject.strip()
    fault = "Makes the subject empty" if blank else "Puts a line break or control character into the subject"
    bad = [key for key in sorted(parts.subject_variables & variables.keys()) if blank or breaks_line(variables[key])]
    errors = [at(f"/variables/{key}", fault) for key in bad] or [at("/variables", fault)]
    raise VariablesRejected(fault, errors=errors)
