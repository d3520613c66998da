"""Templates: loaded and checked once, rendered strictly. Missing or unknown variables are refused, never left blank.

A folder `templates/<name>/` holds `template.toml` and for each locale `subject.txt`, `text.txt` and `html.html`.
Every HTML part extends `templates/layout.html`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import JsonValue

from shared.contract.addresses import is_plain_text
from shared.contract.fields import OnUncertain
from shared.contract.problems import at
from shared.process.template_faults import fault_at, refusal

from ..errors import UnknownTemplate, VariablesRejected
from .template_variables import Spec, breaks_line, line_of, read_spec, sample

_FOLDER = Path(__file__).parent / "templates"
_LAYOUT = "layout.html"
_PARTS = ("subject.txt", "text.txt", "html.html")
_VERSION_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Rendered:
    subject: str
    text: str
    html: str
    locale: str  # the one used, which may be a fallback
    version: str


@dataclass(frozen=True, slots=True)
class _Parts:
    """One locale of a template, compiled."""

    subject: Template
    text: Template
    html: Template
    subject_variables: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Loaded:
    spec: Spec
    version: str
    locales: Mapping[str, _Parts]


class Templates:
    """All templates of a folder. It reads no file after `load`."""

    def __init__(self, loaded: Mapping[str, _Loaded]) -> None:
        self._loaded = loaded

    @classmethod
    def load(cls, path: Path | None = None) -> "Templates":
        """Read, compile and test every template below `path`, by default the service's own.

        Raises:
            ConfigurationError: a template is incomplete, uses a variable that it does not declare, or cannot be
                rendered with its required variables alone; so a broken template stops the start, not the thousandth
                mail. The message names file and line.
        """
        folder = path or _FOLDER
        environment = ImmutableSandboxedEnvironment(
            loader=FileSystemLoader(folder),
            undefined=StrictUndefined,
            autoescape=lambda name: name is not None and name.endswith(".html"),
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        for layout in sorted(folder.glob("*.html")):
            _parse(environment, layout, layout.name)
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] not in "._")
        templates = cls({name: _load(environment, folder, name) for name in names})
        templates._render_samples(folder)
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

    def _find(self, name: str) -> _Loaded:
        try:
            return self._loaded[name]
        except KeyError:
            detail = "No template has this name"
            raise UnknownTemplate(
                f"{detail}; available: {', '.join(self._loaded)}", errors=[at("/template", detail)]
            ) from None

    def _render_samples(self, folder: Path) -> None:
        for name, template in self._loaded.items():
            variables = template.spec.variables
            required = {key: sample(variable) for key, variable in variables.items() if variable.required}
            everything = {key: sample(variable) for key, variable in variables.items()}
            for locale in template.locales:
                subject = folder / name / locale / "subject.txt"
                for values in (required, everything):
                    try:
                        self.render(name, locale, values)
                    except VariablesRejected as error:
                        raise fault_at(subject, 1, f"the subject cannot be rendered: {error}") from None
                    except Exception as error:  # noqa: BLE001 - a template may raise anything
                        raise refusal(error, subject, "the template cannot be rendered") from None


def _load(environment: ImmutableSandboxedEnvironment, folder: Path, name: str) -> _Loaded:
    declaration = folder / name / "template.toml"
    spec = read_spec(declaration)
    locales = sorted(entry.name for entry in (folder / name).iterdir() if entry.is_dir())
    if spec.default_locale not in locales:
        line = line_of(declaration.read_text("utf-8"), ["default_locale"])
        raise fault_at(declaration, line, f"there is no folder for the default locale {spec.default_locale}")
    parts = {locale: _compile(environment, folder, f"{name}/{locale}", spec) for locale in locales}
    files = ["template.toml", *(f"{locale}/{part}" for locale in locales for part in _PARTS), f"../{_LAYOUT}"]
    return _Loaded(spec, _version(folder / name, files), parts)


def _compile(environment: ImmutableSandboxedEnvironment, folder: Path, place: str, spec: Spec) -> _Parts:
    used, compiled = {}, {}
    for part in _PARTS:
        file = folder / place / part
        tree, compiled[part] = _parse(environment, file, f"{place}/{part}")
        used[part] = meta.find_undeclared_variables(tree) - {"locale"}
        if undeclared := used[part] - spec.variables.keys():
            line = min(name.lineno for name in tree.find_all(nodes.Name) if name.name in undeclared)
            names = ", ".join(sorted(undeclared))
            raise fault_at(file, line, f"template.toml does not declare these variables: {names}")
    for template in compiled.values():
        # Jinja's own is a ChainMap, which every rendering copies key by key.
        template.globals = dict(template.globals)
    subject, text, html = (compiled[part] for part in _PARTS)
    return _Parts(subject, text, html, frozenset(used["subject.txt"]))


def _parse(environment: ImmutableSandboxedEnvironment, file: Path, name: str) -> tuple[nodes.Template, Template]:
    """The source of a template as a tree, and compiled."""
    try:
        tree = environment.parse(file.read_text("utf-8"), name, str(file))
        return tree, environment.get_template(name)
    except (TemplateError, OSError, UnicodeDecodeError) as error:
        raise refusal(error, file, "the template cannot be read") from None


def _version(folder: Path, files: list[str]) -> str:
    digest = sha256()
    for file in files:
        path = folder / file
        data = path.read_bytes() if path.is_file() else b""
        digest.update(f"{file} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:_VERSION_LENGTH]


def _nearest(template: _Loaded, locale: str | None) -> str:
    """Lookup of RFC 4647 section 3.4: shorten the tag from its end until it matches."""
    known = {tag.lower(): tag for tag in template.locales}
    tag = (locale or "").replace("_", "-").lower()
    while tag:
        if tag in known:
            return known[tag]
        tag = re.sub(r"(?:^|-)[^-]*$", "", tag)
    return template.spec.default_locale


def _check_subject(subject: str, parts: _Parts, variables: Mapping[str, JsonValue]) -> None:
    if subject.strip() and is_plain_text(subject):
        return
    blank = not subject.strip()
    fault = "Makes the subject empty" if blank else "Puts a line break or control character into the subject"
    bad = [key for key in sorted(parts.subject_variables & variables.keys()) if blank or breaks_line(variables[key])]
    errors = [at(f"/variables/{key}", fault) for key in bad] or [at("/variables", fault)]
    raise VariablesRejected(fault, errors=errors)
