"""Names, addresses and bodies that have broken other signups, with the intended result for each."""

from typing import Any

_LABEL = "d" * 63
# 254 characters together with a local part of 64 and the @.
_LONG_DOMAIN = f"{_LABEL}.{_LABEL}.{'d' * 57}.org"
_DEEP: list[Any] = []
for _ in range(62):
    _DEEP = [_DEEP]

# Input: the address that is mailed, and the key that other spellings share.
ADDRESSES_TAKEN = {
    "BO@Example.ORG": ("BO@example.org", "bo@example.org"),
    "o'brien+tag%x!y@example.org": ("o'brien+tag%x!y@example.org", "o'brien+tag%x!y@example.org"),
    "bo@example.test": ("bo@example.test", "bo@example.test"),
    "\u00e9va@example.org": ("\u00e9va@example.org", "\u00e9va@example.org"),
    "e\u0301va@example.org": ("\u00e9va@example.org", "\u00e9va@example.org"),  # NFD: the same person
    "bo@bu\u0308cher.example": ("bo@b\u00fccher.example", "bo@xn--bcher-kva.example"),
    "bo@XN--BCHER-KVA.Example": ("bo@b\u00fccher.example", "bo@xn--bcher-kva.example"),
    "bo@fa\u00df.example": ("bo@fa\u00df.example", "bo@xn--fa-hia.example"),  # IDNA 2008: not fass.example
    "bo@\uff45xample\u3002org": ("bo@example.org", "bo@example.org"),  # as typed by a Chinese input method
    "bo@ex\u0430mple.org": ("bo@ex\u0430mple.org", "bo@xn--exmple-4nf.org"),  # Cyrillic: another domain
    "\u0430sa@example.org": ("\u0430sa@example.org", "\u0430sa@example.org"),  # Cyrillic: its own server decides
    "bo@\u05d0\u05d1.example": ("bo@\u05d0\u05d1.example", "bo@xn--4dbc.example"),
    "\U0001f600@example.org": ("\U0001f600@example.org", "\U0001f600@example.org"),  # RFC 6531 allows it
    f"{'a' * 64}@example.org": (f"{'a' * 64}@example.org", f"{'a' * 64}@example.org"),
    "\u00e9" * 32 + "@example.org": ("\u00e9" * 32 + "@example.org", "\u00e9" * 32 + "@example.org"),
    f"{'a' * 64}@{_LONG_DOMAIN}": (f"{'a' * 64}@{_LONG_DOMAIN}", f"{'a' * 64}@{_LONG_DOMAIN}"),
}
ADDRESSES_REFUSED = {
    "": "@-sign",
    "   ": "@-sign",
    "bo": "@-sign",
    "@example.org": "before the @-sign",
    "bo@": "after the @-sign",
    "bo@@example.org": "'@'",
    "bo@example.org, al@example.org": "','",
    "Bo <bo@example.org>": "angle brackets",
    "mailto:bo@example.org": "':'",
    # Never trimmed: surrounding characters mean that the address was extracted wrongly.
    " bo@example.org": "SPACE",
    "bo@example.org ": "SPACE",
    "\tbo@example.org": "U+0009",
    "bo@example.org\n": "U+000A",
    "bo@example.org\r\nBcc: x@example.org": "invalid characters",
    "b\0o@example.org": "NUL",
    "bo\x7f@example.org": "U+007F",
    "bo\u0085@example.org": "U+0085",
    "bo\u00a0@example.org": "NO-BREAK SPACE",
    "bo\u2028@example.org": "LINE SEPARATOR",
    "bo@example\u2029.org": "PARAGRAPH SEPARATOR",
    # Invisible characters would make two users of one address.
    "\u200fbo@example.org": "RIGHT-TO-LEFT MARK",
    "b\u202eo@example.org": "RIGHT-TO-LEFT OVERRIDE",
    "bo@exa\u202emple.org": "RIGHT-TO-LEFT OVERRIDE",
    "\u2066bo@example.org": "LEFT-TO-RIGHT ISOLATE",
    "bo\u200b@example.org": "ZERO WIDTH SPACE",
    "bo\u200d@example.org": "ZERO WIDTH JOINER",
    "bo@ex\u200dample.org": "ZERO WIDTH JOINER",
    "bo\ufeff@example.org": "ZERO WIDTH NO-BREAK SPACE",
    "bo@ex\u00adample.org": "SOFT HYPHEN",
    "\u0301bo@example.org": "COMBINING ACUTE ACCENT",
    "\ue000bo@example.org": "U+E000",
    # RFC 5321 allows some of these; people's mailboxes do not use them.
    '"bo bo"@example.org': "Quoting",
    '"bo"@example.org': "Quoting",
    "bo(comment)@example.org": "'('",
    "bo@example.org (Bo)": "'('",
    "bo@[127.0.0.1]": "IP address",
    "bo@[IPv6:::1]": "IP address",
    "bo@127.0.0.1": "top-level domain",
    "bo@localhost": "period",
    "bo@com": "period",
    "bo@example.org.": "end with a period",
    ".bo@example.org": "start with a period",
    "bo.@example.org": "period immediately before",
    "b..o@example.org": "two periods",
    "bo@example..org": "two periods",
    "bo@ex_ample.org": "'_'",
    "bo@-example.org": "hyphen",
    "bo@example.invalid": "special-use",
    "bo@\U0001f600.example": "no domain name",
    "bo@xn--e28h.example": "no domain name",  # the same as an A-label
    "bo@a\u05d0.example": "no domain name",  # RFC 5893: both directions in one label
    f"bo@{'d' * 64}.org": "too many",
    f"{'a' * 65}@example.org": "too long before the @-sign",
    "\u00e9" * 33 + "@example.org": "64 octets",
    f"{'a' * 64}@{_LONG_DOMAIN.replace('.org', 'd.org')}": "too long",
    f"bo@{'d.' * 200}org": "at most 320",
}
# Input: the name in the mail. Spelling and Unicode normal form stay as typed.
NAMES_TAKEN = {
    "  Bo\u00a0": "Bo",
    "\nBo\u2028": "Bo",
    "\u00c5sa": "\u00c5sa",
    "A\u030asa": "A\u030asa",
    "\u200f\u05d1\u05d5": "\u200f\u05d1\u05d5",  # Hebrew keyboards insert marks; a mark affects nothing after it
    "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc": "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc",  # Persian needs it
    "\U0001f468\u200d\U0001f469\u200d\U0001f467": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "Z\u0351\u036b\u0343": "Z\u0351\u036b\u0343",
    'O\'Brien, "Bo" <bo@example.org>; x': 'O\'Brien, "Bo" <bo@example.org>; x',
    "<script>alert(1)</script>": "<script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}": "{{ 7 * 7 }}{% raw %}",
    "=?utf-8?q?Bo?=": "=?utf-8?q?Bo?=",
    "Robert'); DROP TABLE users;--": "Robert'); DROP TABLE users;--",
    "n" * 200: "n" * 200,
    "  " + "\U0001f600" * 200 + "  ": "\U0001f600" * 200,
}
NAMES_REFUSED = {
    "": "empty",
    "   ": "empty",
    "\t": "empty",
    "\u200b": "blank",
    "\u200d\u2060\u00ad": "blank",
    "\u3164": "blank",  # Hangul filler: a letter that shows nothing
    "\u2800": "blank",  # Braille's empty cell
    "\u0301": "blank",  # a mark on nothing
    "\ue000": "blank",  # private use
    "Bo\r\nBcc: x@example.org": "line breaks",
    "Bo\tBo": "control characters",
    "Bo\0": "NUL",
    "Bo\x1b[2J": "control characters",
    "Bo\x7f": "control characters",
    "Bo\u0085Bo": "line breaks",
    "Bo\u2028Bo": "line breaks",
    "Bo\u2029Bo": "line breaks",
    "\u202eoB": "control characters",
    "Bo\u2066": "control characters",  # never closed: it would reverse the rest of the sentence
    "n" * 201: "at most 200",
    "\U0001f600" * 201: "at most 200",
}
METADATA_TAKEN: dict[str, Any] = {
    "nothing": {},
    "null": None,
    "nested": {"a": {"b": [1, {"c": None}, [True, "x"]]}},
    "64 levels": {"a": _DEEP},
    "an empty key": {"": 1},
    "4 KiB": {"a": "x" * 4088},
    "4 KiB of UTF-8": {"a": "\u00e9" * 2044},
    "the text \\u0000, which is no NUL": {"a": "\\u0000"},
    "64 bits": {"a": 2**64 - 1, "b": -(2**63)},
    "floats": {"a": 0.1, "b": 1e300, "c": 5e-324},
}
# Raw bodies, as Python's encoder cannot produce some of them: pointer and part of the detail.
WRONG_SHAPES: dict[bytes, tuple[str, str]] = {
    b"": ("", "required"),
    b"{": ("", "JSON"),
    b'{"email": "bo@example.org", "name": "Bo"} x': ("", "JSON"),
    b"{'email': 'bo@example.org'}": ("", "JSON"),
    b"null": ("", "an object"),
    b"[]": ("", "an object"),
    b'"bo@example.org"': ("", "an object"),
    b'[{"email": "bo@example.org", "name": "Bo"}]': ("", "an object"),
    b'\xef\xbb\xbf{"email": "bo@example.org", "name": "Bo"}': ("", "JSON"),  # RFC 8259 section 8.1: no byte order mark
    '{"email": "bo@example.org", "name": "Bo"}'.encode("utf-16"): ("", "JSON"),
    b'{"email": "bo@example.org", "name": "\xff"}': ("", "JSON"),
    b'{"email": "bo@example.org", "name": "\xed\xa0\x80"}': ("", "JSON"),
    b'{"email": "bo@example.org", "name": "\\ud800"}': ("/name", "unpaired surrogates"),
    b'{"email": "b\\udc00o@example.org", "name": "Bo"}': ("/email", "unpaired surrogates"),
    b"[" * 5000: ("", "JSON"),
    b"{}": ("/email", "required"),
    b'{"email": "bo@example.org"}': ("/name", "required"),
    b'{"email": null, "name": "Bo"}': ("/email", "string"),
    b'{"email": 1, "name": "Bo"}': ("/email", "string"),
    b'{"email": true, "name": "Bo"}': ("/email", "string"),
    b'{"email": ["bo@example.org"], "name": "Bo"}': ("/email", "string"),
    b'{"email": {"address": "bo@example.org"}, "name": "Bo"}': ("/email", "string"),
    b'{"email": "bo@example.org", "name": null}': ("/name", "string"),
    b'{"email": "bo@example.org", "name": 7}': ("/name", "string"),
    b'{"email": "bo@example.org", "name": "Bo", "locale": 1}': ("/locale", "string"),
    b'{"email": "bo@example.org", "name": "Bo", "locale": ""}': ("/locale", "BCP 47"),
    b'{"email": "bo@example.org", "name": "Bo", "locale": "../../etc"}': ("/locale", "BCP 47"),
    b'{"email": "bo@example.org", "name": "Bo", "locale": "en\\n"}': ("/locale", "BCP 47"),
    b'{"email": "bo@example.org", "name": "Bo", "status": "verified"}': ("/status", "no such field"),
    b'{"email": "bo@example.org", "name": "Bo", "a/b~c": 1}': ("/a~1b~0c", "no such field"),
}
WRONG_METADATA: dict[bytes, tuple[str, str]] = {
    b"[]": ("/metadata", "an object"),
    b'"{}"': ("/metadata", "an object"),
    b"1": ("/metadata", "an object"),
    b'{"a": NaN}': ("", "JSON"),
    b'{"a": -Infinity}': ("", "JSON"),
    b'{"a": 1e400}': ("", "JSON"),
    b'{"a": ' + b"9" * 400 + b"}": ("", "JSON"),
    b'{"\\u0000": 1}': ("/metadata", "NUL"),
    b'{"a": "\\\\\\u0000"}': ("/metadata/a", "NUL"),
    b'{"a": "' + b"x" * 4089 + b'"}': ("/metadata", "4096 bytes"),
    b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}": ("/metadata", "64 levels"),
    b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}": ("/metadata", "64 levels"),
}
