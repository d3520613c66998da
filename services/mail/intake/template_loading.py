"""Reads, compiles and checks templates. What cannot be known without rendering is checked by the engine."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateError, TemplateNotFound, meta, nodes
from jinja2.loaders import split_template_path
from jinja2.sandbox import ImmutableSandboxedEnvironment

from shared.process.template_faults import fault_at, refusal

from .template_layers import DECLARATION, PARTS, Layers
from .template_variables import Spec, line_of, read_spec, refuse_narrower

_VERSION_LENGTH = 12
_REFERRING = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)


@dataclass(frozen=True, slots=True)
class Parts:
    """One locale of a template, compiled."""

    subject: Template
    text: Template
    html: Template
    subject_variables: frozenset[str]


@dataclass(frozen=True, slots=True)
class Loaded:
    spec: Spec
    version: str
    locales: Mapping[str, Parts]


@dataclass(frozen=True, slots=True)
class _Source:
    file: Path
    tree: nodes.Template
    template: Template
    variables: frozenset[str]
    refers_to: tuple[str, ...]


def read_templates(layers: Layers) -> dict[str, Loaded]:
    """Raises ConfigurationError, with file and line: a template is incomplete, or uses what it does not declare."""
    sources = _Sources(layers)
    for place in layers.shared():
        sources.read(place)
    loaded = {name: _load(sources, name) for name in layers.names()}
    *own, shipped = layers.folders
    for place in layers.shared():
        file = layers.file(place)
        if own and not (shipped / place).exists() and file not in sources.used:
            raise fault_at(file, None, "no template extends or includes this file")
    return loaded


class _Sources:
    """The files of all folders, each read once and kept in memory, so that a later change of one changes nothing."""

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
        self.used: set[Path] = set()
        self._read: dict[str, _Source] = {}
        self._environment = ImmutableSandboxedEnvironment(
            loader=FileSystemLoader(layers.folders),
            undefined=StrictUndefined,
            autoescape=lambda name: name is not None and name.endswith(".html"),
            auto_reload=False,
            cache_size=-1,  # all: one that is dropped would be read again
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )

    def read(self, place: str) -> _Source:
        """The file at `place`, compiled. Raises ConfigurationError."""
        if place not in self._read:
            file = self.layers.file(place)
            try:
                tree = self._environment.parse(file.read_text("utf-8"), place, str(file))
                template = self._environment.get_template(place)
            except (TemplateError, OSError, UnicodeDecodeError) as error:
                raise refusal(error, file, "the template cannot be read") from None
            # Jinja's own is a ChainMap, which every rendering copies key by key.
            template.globals = dict(template.globals)
            variables = frozenset(meta.find_undeclared_variables(tree) - {"locale"})
            refers_to = tuple(self._references(tree, file))
            self._read[place] = _Source(file, tree, template, variables, refers_to)
        return self._read[place]

    def use(self, place: str) -> dict[str, _Source]:
        """The file at `place` and all that it extends, includes or imports, by their places."""
        found: dict[str, _Source] = {}
        waiting = [place]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = self.read(name)
                waiting += found[name].refers_to
        self.used |= {source.file for source in found.values()}
        return found

    def _references(self, tree: nodes.Template, file: Path) -> Iterator[str]:
        for node in tree.find_all(_REFERRING):
            names = list(meta.find_referenced_templates(nodes.Template([node])))
            written = [name for name in names if name is not None]
            if len(written) < len(names):
                raise fault_at(
                    file, node.lineno, "the name of another template must be written out, or it is unchecked"
                )
            if file.suffix == ".html" and not all(name.endswith(".html") for name in written):
                raise fault_at(file, node.lineno, "HTML can use only .html files: in others variables are not escaped")
            known = [name for name in written if self._exists(name)]
            if not known and not getattr(node, "ignore_missing", False):
                raise fault_at(file, node.lineno, f"there is no template {' or '.join(written)}")
            yield from known

    def _exists(self, place: str) -> bool:
        try:
            return self.layers.file("/".join(split_template_path(place))).is_file()
        except TemplateNotFound:  # it leads out of the folder
            return False


def _load(sources: _Sources, name: str) -> Loaded:
    layers = sources.layers
    declaration = layers.file(f"{name}/{DECLARATION}")
    spec = read_spec(declaration)
    shipped = layers.folders[-1] / name / DECLARATION
    if declaration != shipped and shipped.is_file():
        refuse_narrower(spec, read_spec(shipped), declaration)
    locales = layers.locales(name)
    if spec.default_locale not in locales:
        line = line_of(declaration.read_text("utf-8"), ["default_locale"])
        raise fault_at(declaration, line, f"there is no folder for the default locale {spec.default_locale}")
    files = {f"{name}/{DECLARATION}": declaration}
    parts = {}
    for locale in locales:
        used = {part: sources.use(f"{name}/{locale}/{part}") for part in PARTS}
        files |= {place: source.file for sources_of in used.values() for place, source in sources_of.items()}
        parts[locale] = _check(used, f"{name}/{locale}", spec)
    return Loaded(spec, _version(files), parts)


def _check(used: Mapping[str, Mapping[str, _Source]], place: str, spec: Spec) -> Parts:
    own = {part: used[part][f"{place}/{part}"] for part in PARTS}
    for source in own.values():
        if undeclared := source.variables - spec.variables.keys():
            line = min(name.lineno for name in source.tree.find_all(nodes.Name) if name.name in undeclared)
            names = ", ".join(sorted(undeclared))
            raise fault_at(source.file, line, f"template.toml does not declare these variables: {names}")
    for part in ("text.txt", "html.html"):
        _refuse_without_link(own[part].file, used[part].values(), spec)
    subject, text, html = (own[part] for part in PARTS)
    return Parts(subject.template, text.template, html.template, subject.variables)


def _refuse_without_link(file: Path, sources: Iterable[_Source], spec: Spec) -> None:
    """A mail that must have a link is of no use without it, and a reader sees only one of text and HTML."""
    shown = frozenset[str]().union(*(source.variables for source in sources))
    for key, variable in spec.variables.items():
        if variable.required and variable.kind == "url" and key not in shown:
            raise fault_at(file, 1, f"the required URL `{key}` is missing: use {{{{ {key} }}}} or declare it optional")


def _version(files: Mapping[str, Path]) -> str:
    digest = sha256()
    for place, file in sorted(files.items()):
        data = file.read_bytes()
        digest.update(f"{place} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:_VERSION_LENGTH]
