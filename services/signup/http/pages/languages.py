"""What the pages say in each language: `<tag>.toml` beside this file. A new file is a new language.

Every language has exactly the texts of the default one, so a text is never missing on a page that a person sees.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.contract.configuration import ConfigurationError
from shared.process.template_faults import fault_at, refusal

DEFAULT = "en"
_LAYOUT = "layout"
_DIRECTIONS = ("ltr", "rtl")
_TAG = re.compile("[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


@dataclass(frozen=True, slots=True)
class Language:
    tag: str  # BCP 47, the file's name
    direction: str  # of the script: ltr or rtl
    texts: Mapping[str, Mapping[str, str]]  # page, then text


def file_in(layers: Sequence[Path], name: str) -> Path:
    """The file of this name that is used: the one in the first folder that has it."""
    return next((folder / name for folder in layers if (folder / name).is_file()), layers[-1] / name)


def pages_in(layers: Sequence[Path]) -> list[str]:
    return sorted({file.stem for folder in layers for file in folder.glob("*.html") if file.stem != _LAYOUT})


def load(layers: Sequence[Path]) -> dict[str, Language]:
    """The languages by tag, the default one first. A file in the first folder takes the place of one in the next.

    Raises:
        ConfigurationError: a file cannot be read, or has a text too few or too many. The message names file and text.
    """
    first = file_in(layers, f"{DEFAULT}.toml")
    default = _read(first)
    if odd := default.texts.keys() ^ set(pages_in(layers)):
        raise fault_at(first, None, f"{min(odd)} must be both a page and a table of texts")
    languages = {DEFAULT: default}
    for name in sorted({file.name for folder in layers for file in folder.glob("*.toml")} - {first.name}):
        file = file_in(layers, name)
        languages[file.stem] = _read(file)
        _compare(file, _names(languages[file.stem]), _names(default))
    return languages


def _read(file: Path) -> Language:
    if not _TAG.fullmatch(file.stem):
        raise fault_at(file, None, "must be named after a language tag, like pt.toml or pt-BR.toml")
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise refusal(error, file, "the texts cannot be read") from None
    except tomllib.TOMLDecodeError as error:
        raise fault_at(file, None, f"not TOML: {error}") from None
    direction = content.pop("direction", None)
    if direction not in _DIRECTIONS:
        raise fault_at(file, None, f"direction must be one of {', '.join(_DIRECTIONS)}")
    for page, texts in content.items():
        if not isinstance(texts, dict):
            raise fault_at(file, None, f"{page} must be a table with the texts of a page")
        for name, text in texts.items():
            if not (isinstance(text, str) and text.strip()):
                raise _fault_of(file, page, name, "must be a text that is not blank")
    return Language(file.stem, direction, content)


def _compare(file: Path, found: set[tuple[str, str]], wanted: set[tuple[str, str]]) -> None:
    for page, name in sorted(wanted - found):
        raise _fault_of(file, page, name, f"is missing; {DEFAULT}.toml has it")
    for page, name in sorted(found - wanted):
        raise _fault_of(file, page, name, f"is unknown; {DEFAULT}.toml does not have it")


def _names(language: Language) -> set[tuple[str, str]]:
    return {(page, name) for page, texts in language.texts.items() for name in texts}


def _fault_of(file: Path, page: str, name: str, what: str) -> ConfigurationError:
    return fault_at(file, None, f"{name} of [{page}] {what}")
