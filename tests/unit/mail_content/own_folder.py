"""Files of an operator's folder of templates."""

from collections.abc import Callable
from pathlib import Path

Write = Callable[[dict[str, str]], Path]
NOTE = """description = "A note"
default_locale = "en"
on_uncertain = "hold"
on_uncertain_reason = "It is an example"
[variables]
"""
NOTE_FILES = {
    "note/template.toml": NOTE,
    "note/en/subject.txt": "A note\n",
    "note/en/text.txt": "Read this.\n",
    "note/en/html.html": "<p>Read this.</p>\n",
}
LINK_AS_HTML = '<a href="{{ link }}">{{ link }}</a>'
NEW_LOCALE = {
    "verification/eo/subject.txt": "Konfirmu vian adreson\n",
    "verification/eo/text.txt": "Malfermu {{ link }}\n",
    "verification/eo/html.html": "{% extends 'layout.html' %}{% block content %}" + LINK_AS_HTML + "{% endblock %}\n",
}
