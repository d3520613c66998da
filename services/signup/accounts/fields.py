"""The fields of a user, validated the same way in a signup and in an import row."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field, GetPydanticSchema, StringConstraints
from pydantic_core import core_schema

from shared.contract.addresses import Address, parse_address
from shared.contract.fields import plain_text

# Longer than any mailable address, even one with A-labels. Longer input is refused without parsing.
LONGEST_EMAIL_INPUT = 320
# Letters and a symbol by category, yet they display blank: the Hangul fillers and Braille's empty cell.
_BLANKS = frozenset("\u115f\u1160\u3164\uffa0\u2800")


def _visible(text: str) -> str:
    # Separators, control and format characters are invisible; combining marks need a base character.
    if not any(unicodedata.category(char)[0] not in "ZCM" and char not in _BLANKS for char in text):
        raise ValueError("Must not be blank")
    return text


# Parses the text once into an Address: the spelling for mailing and the key for comparing.
EmailAddress = Annotated[
    Address,
    GetPydanticSchema(
        lambda _source, _handler: core_schema.no_info_after_validator_function(
            parse_address, core_schema.str_schema(max_length=LONGEST_EMAIL_INPUT, strict=True)
        )
    ),
    Field(json_schema_extra={"format": "idn-email"}),
]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(plain_text),
    AfterValidator(_visible),
]
