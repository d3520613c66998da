"""Compares the ledger with the gateway's own record: what was accepted must be there once."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from .product import Product

_MAILS = """
SELECT coalesce(jsonb_agg(jsonb_build_array(m.to_key, m.state, (
    SELECT count(*) FROM attempts a WHERE a.mail_id = m.id AND a.outcome = 'unknown'
))), '[]')::text
FROM mails m WHERE to_key LIKE $1
"""


@dataclass(frozen=True)
class Books:
    """How many signups were accepted; and each mail of the ledger: recipient, state, attempts of unknown outcome."""

    accepted: int
    mails: list[tuple[str, str, int]]


def ledger_of(product: Product, tag: str, accepted: int) -> Books:
    mails = json.loads(product.fetchval("mail", _MAILS, f"{tag}-%"))
    return Books(accepted, [(recipient, state, unknown) for recipient, state, unknown in mails])


def compare_books(books: Books, copies: Iterable[str], tag: str) -> dict[str, int]:
    """Counts of people:

    - lost: accepted, and without a copy in the gateway's record;
    - twice: with more copies than the ledger's attempts of unknown outcome explain;
    - resent: with more copies than one, which it does explain;
    - wrong: the ledger says `sent` of a mail without a copy, or not `sent` of one with a copy.
    """
    counted = Counter(recipient for recipient in copies if recipient.startswith(f"{tag}-"))
    unknown: Counter[str] = Counter()
    sent: set[str] = set()
    for recipient, state, attempts in books.mails:
        unknown[recipient] += attempts
        if state == "sent":
            sent.add(recipient)
    several = [recipient for recipient, count in counted.items() if count > 1]
    twice = [recipient for recipient in several if counted[recipient] > 1 + unknown[recipient]]
    # An uncertain mail may have a copy: the ledger says that it does not know.
    uncertain = {recipient for recipient, state, _ in books.mails if state == "uncertain"}
    wrong = sent ^ (counted.keys() - uncertain)
    return {
        "accepted": books.accepted,
        "lost": books.accepted - len(counted),
        "twice": len(twice),
        "resent": len(several) - len(twice),
        "wrong": len(wrong),
    }
