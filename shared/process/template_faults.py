"""Says in which file and line a template is wrong, so that a process that cannot start with it says so in one line."""

from pathlib import Path

from jinja2 import TemplateNotFound, TemplateSyntaxError

from ..contract.configuration import ConfigurationError


def refusal(error: Exception, file: Path, does: str) -> ConfigurationError:
    """The refusal of a start because `file` failed to load or to render: "FILE, line N: DOES: what is wrong".

    The fault may be in another template of the same folder that `file` extends or includes.
    """
    if isinstance(error, TemplateSyntaxError):
        return fault_at(Path(error.filename or file), error.lineno, f"{does}: {error.message}")
    place, line = _innermost(error, file)
    if isinstance(error, TemplateNotFound):
        return fault_at(place, line, f"{does}: there is no template {error.name}")
    if isinstance(error, UnicodeDecodeError):
        return fault_at(file, error.object[: error.start].count(b"\n") + 1, f"{does}: the text is not UTF-8")
    if isinstance(error, OSError):
        return fault_at(file, None, f"{does}: {error.strerror}")
    return fault_at(place, line, f"{does}: {error}")


def fault_at(file: Path, line: int | None, what: str) -> ConfigurationError:
    """`file` is shown relative to the working folder when it is below that."""
    shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    return ConfigurationError(f"{shown}, line {line}: {what}" if line else f"{shown}: {what}")


def _innermost(error: Exception, file: Path) -> tuple[Path, int | None]:
    """The last template in the traceback: Jinja gives the frames of a template its file and its lines."""
    place: tuple[Path, int | None] = (file, None)
    frame = error.__traceback__
    while frame is not None:
        source = Path(frame.tb_frame.f_code.co_filename)
        if source.suffix in {".html", ".txt"}:
            place = (source, frame.tb_lineno)
        frame = frame.tb_next
    return place
