"""The console's style sheet, scripts and icon. Browsers keep them for ever: their URLs change with their content."""

import hashlib
from pathlib import Path

from starlette.responses import Response

from .mount import PATH

_FOLDER = Path(__file__).parent / "static"
_FILES = {
    "style.css": ("style.css", "text/css"),
    "console.js": ("console.js", "text/javascript"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
    "htmx.js": ("vendor/htmx/htmx.min.js", "text/javascript"),
    "htmx-licence.txt": ("vendor/htmx/LICENSE.txt", "text/plain"),
}
_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class StaticFiles:
    """All of them, read once."""

    def __init__(self) -> None:
        self._files = {name: ((_FOLDER / file).read_bytes(), media) for name, (file, media) in _FILES.items()}
        self._marks = {name: hashlib.sha256(content).hexdigest()[:12] for name, (content, _) in self._files.items()}

    def url_of(self, name: str) -> str:
        return f"{PATH}/static/{self._marks[name]}/{name}"

    def answer(self, mark: str, name: str) -> Response | None:
        """None when there is no such file, or it had this mark in another version."""
        if self._marks.get(name) != mark:
            return None
        content, media = self._files[name]
        return Response(content, headers=_HEADERS, media_type=media)
