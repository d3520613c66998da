"""Which names may stand in a mail. Anybody can sign a stranger up, and whatever they call them would be mailed from
here, with our good name behind it: `name` must not carry a message.

Such a name is left out of the mail, and nobody is refused: a rule that no real name breaks would let links through, and
one that stops every link would turn people away. The greeting then has no name. It holds for keyed callers and imports
too, who hand on what somebody typed. Pure: a retry asks for the same bytes.
"""

import re
import unicodedata

# Longer than names that are greeted by; a sentence fits into the 200 that a name may have.
_LONGEST = 100
# What mail programs make a link of: a scheme, or a dot with no space behind it, as in a host name. Initials and
# titles have one letter before the dot and a capital behind it (M.Sc., D.J.), or a space (Dr. John). The second kind of
# dot is one in host names as well (RFC 3490 section 3.1). Five digits are a telephone number.
_MESSAGE = re.compile(r"://|\w\w[.。]\w\w|\w[.。](?:[a-z]{2}|[A-Z]{2})|\d[\d ()/-]{3,}\d")


def name_in_mails(name: str) -> str:
    """`name`, or nothing when it may be a message to a stranger."""
    # Letters in other widths are what they look like, and what cannot be seen parts no host name.
    plain = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
    return "" if len(plain) > _LONGEST or _MESSAGE.search(plain) else name
