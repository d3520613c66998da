"""The folders that templates are read from: the operator's own over the shipped one, file by file.

A folder holds `<name>/template.toml`, the parts of each locale in `<name>/<locale>/`, and files that templates share,
such as `layout.html`. Any other file is refused, because a misspelled one would do nothing. Hidden files are ignored.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from shared.contract.fields import Locale, TemplateName
from shared.process.template_faults import fault_at, refusal

DECLARATION = "template.toml"
PARTS = ("subject.txt", "text.txt", "html.html")
_SHARED = (".html", ".txt")
_NAME: TypeAdapter[Any] = TypeAdapter(TemplateName)
_LOCALE: TypeAdapter[Any] = TypeAdapter(Locale)


@dataclass(frozen=True, slots=True)
class Layers:
    """`folders` in order of preference: a file in one stands in the place of the same file in the next."""

    folders: tuple[Path, ...]

    @classmethod
    def of(cls, *folders: Path) -> "Layers":
        """Raises ConfigurationError: a folder cannot be read, or has a file that no template would use."""
        for folder in folders:
            try:
                _refuse_strays(folder)
            except OSError as error:
                raise refusal(error, Path(error.filename or folder), "the templates cannot be read") from None
        return cls(folders)

    def file(self, place: str) -> Path:
        """The file used at `place`; when there is none, where it is missing."""
        paths = [folder / place for folder in self.folders]
        beside = (path for path in paths if path.parent.is_dir())
        return next((path for path in paths if path.is_file()), None) or next(beside, paths[0])

    def names(self) -> list[str]:
        return sorted({entry.name for folder in self.folders for entry in _entries(folder) if entry.is_dir()})

    def shared(self) -> list[str]:
        return sorted({entry.name for folder in self.folders for entry in _entries(folder) if entry.is_file()})

    def locales(self, name: str) -> list[str]:
        """Raises ConfigurationError: two folders spell one locale differently, so that requests would meet only one."""
        found: dict[str, Path] = {}
        for folder in (folder / name for folder in self.folders):
            for entry in _entries(folder) if folder.is_dir() else ():
                if entry.is_dir():
                    other = found.setdefault(entry.name.lower(), entry)
                    if other.name != entry.name:
                        raise fault_at(other, None, f"another folder spells this locale {entry.name}: spell it alike")
        return sorted(entry.name for entry in found.values())


def template_name_fault(name: str) -> str | None:
    """What a template's name must be, when `name` is not."""
    return _fault(_NAME, name)


def _refuse_strays(folder: Path) -> None:
    for entry in _entries(folder):
        if entry.is_dir():
            if fault := template_name_fault(entry.name):
                raise fault_at(entry, None, f"the folder has the name of no template: {fault}")
            _refuse_strays_of_template(entry)
        elif entry.suffix not in _SHARED:
            raise fault_at(entry, None, "no template uses this file: here are layout.html, other .html and .txt files")
        else:
            _refuse_unless_file(entry)


def _refuse_strays_of_template(folder: Path) -> None:
    for entry in _entries(folder):
        if entry.is_dir():
            if fault := _fault(_LOCALE, entry.name):
                raise fault_at(entry, None, f"the folder has the name of no locale: {fault}")
            for part in _entries(entry):
                _refuse_unless_one_of(part, PARTS)
        else:
            _refuse_unless_one_of(entry, (DECLARATION,))


def _refuse_unless_one_of(entry: Path, names: Sequence[str]) -> None:
    if entry.name not in names:
        raise fault_at(entry, None, f"no template uses this file: here is {_listed(names)}")
    _refuse_unless_file(entry)


def _refuse_unless_file(entry: Path) -> None:
    """A link to nothing would let the file of the next folder through."""
    if not entry.is_file():
        raise fault_at(entry, None, "this is no file, or a link that leads nowhere")


def _fault(kind: TypeAdapter[Any], name: str) -> str | None:
    try:
        normal = kind.validate_python(name)
    except ValidationError as error:
        return error.errors()[0]["msg"].removeprefix("Value error, ")
    return None if normal == name else f"Must be spelled {normal}"


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def _entries(folder: Path) -> Iterator[Path]:
    return iter(sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".")))
