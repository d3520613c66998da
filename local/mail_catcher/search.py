"""Mailpit's search words, as conditions of the store with their parameters."""

import re

EVERYTHING = "1 = 1"
SEARCH_WORD = re.compile(r'(?:(to|from|subject|message-id|addressed):)?("[^"]*"|\S+)', re.IGNORECASE)
WORD_CONDITIONS = {
    "to": "search_to LIKE ? ESCAPE '\\'",
    "from": "search_from LIKE ? ESCAPE '\\'",
    "subject": "subject LIKE ? ESCAPE '\\'",
    "addressed": "search_to || search_from LIKE ? ESCAPE '\\'",
    "": "search_to || search_from || subject || coalesce(message_id, '') LIKE ? ESCAPE '\\'",
}
Condition = tuple[str, list[str]]


def condition_for(query: str) -> Condition:
    """All words must match."""
    conditions, parameters = [EVERYTHING], []
    for field, quoted in SEARCH_WORD.findall(query):
        word = quoted.strip('"').strip("<>") if field.lower() == "message-id" else quoted.strip('"')
        if field.lower() == "message-id":
            conditions.append("message_id = ?")
            parameters.append(word)
        else:
            conditions.append(WORD_CONDITIONS[field.lower()])
            parameters.append(_pattern(word))
    return " AND ".join(conditions), parameters


def condition_for_fields(**texts: str) -> Condition:
    """Each field, `to` or `subject`, must contain its text as it is. An empty text matches everything."""
    given = {field: text.strip() for field, text in texts.items() if text.strip()}
    conditions = [EVERYTHING, *(WORD_CONDITIONS[field] for field in given)]
    return " AND ".join(conditions), [_pattern(text) for text in given.values()]


def _pattern(text: str) -> str:
    escaped = re.sub(r"([\\%_])", r"\\\1", text.casefold())
    return f"%{escaped}%"
