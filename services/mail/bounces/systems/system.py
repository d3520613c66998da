"""How a mail system's notices are known: by what it always writes, wherever that stands in its words."""

import re
from dataclasses import dataclass

from ..own_words import Letter


@dataclass(frozen=True, slots=True)
class System:
    """`says` is looked for in the notice's own words; `sender`, `subject` and `program` in its header, if given."""

    name: str
    says: re.Pattern[str]
    sender: re.Pattern[str] | None = None
    subject: re.Pattern[str] | None = None
    program: re.Pattern[str] | None = None  # X-Mailer

    def wrote(self, letter: Letter) -> bool:
        return (
            bool(self.says.search(letter.words))
            and (self.sender is None or bool(self.sender.search(letter.sender)))
            and (self.subject is None or bool(self.subject.search(letter.subject)))
            and (self.program is None or bool(self.program.search(letter.header("X-Mailer"))))
        )


def system(name: str, says: str, *, sender: str = "", subject: str = "", program: str = "") -> System:
    return System(name, _pattern(says), *(_pattern(text) if text else None for text in (sender, subject, program)))


def _pattern(text: str) -> re.Pattern[str]:
    # Words may be wrapped anywhere. A space that may be missing or repeated is written as in a pattern.
    spaced = text.replace(" ?", r"\s*").replace(" +", r"\s+").replace(" ", r"\s+")
    return re.compile(spaced, re.IGNORECASE | re.MULTILINE)
