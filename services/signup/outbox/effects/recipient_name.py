"""Which names may appear in a mail. An anonymous client can sign a stranger up, and the name it gives would be mailed
with our reputation: `name` must not carry a message.

A suspect name is left out of the greeting, and the signup is not refused: a rule that no real name breaks would let
links through, and one that stops every link would turn people away. The rule holds for keyed callers and imports too,
because they pass on what a user typed. Pure: a retry requests the same bytes.
"""

import re
import unicodedata

# More than a greeting needs; a sentence fits into the 200 that a name may have.
_MAX_LENGTH = 100
# What mail programs turn into a link: a scheme, or a dot with no space after it, as in a host name. Initials and titles
# have one letter before the dot and a capital after it (M.Sc., D.J.), or a space (Dr. John). The ideographic full stop
# separates host names too (RFC 3490 section 3.1). Five digits are a telephone number.
_MESSAGE = re.compile(r"://|\w\w[.。]\w\w|\w[.。](?:[a-z]{2}|[A-Z]{2})|\d[\d ()/-]{3,}\d")


def name_in_mails(name: str) -> str:
    """Returns `name`, or an empty string when it may be a message to a stranger."""
    # NFKC makes full-width letters plain. Invisible characters (Cf) do not split a host name.
    plain = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
    return "" if len(plain) > _MAX_LENGTH or _MESSAGE.search(plain) else name
