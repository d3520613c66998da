"""The format of an import file, in words and with examples: for errors, `--help` and the API's description.

docs/how-to.md says the same; tests compare them and import the examples.
"""

REQUIRED = {
    "external_id": "the person's ID at the source, 1 to 255 characters; without an ID, repeat the address here",
    "email": "one address, without a name",
    "name": "1 to 200 characters",
}
OPTIONAL = {
    "locale": "language of the mails, like `en` or `de-AT`; default `en`",
    "verified": "`true`, `yes` or `1`: the source has verified the address, so the person gets a welcome mail; "
    "`false`, `no`, `0` or empty: a verification mail. NDJSON: true or false",
    "metadata": "a JSON object of at most 4096 bytes; CSV may have one column `metadata.KEY` for each key instead",
}
METADATA_KEY = "metadata."
CSV_EXAMPLE = """\
external_id,email,name,locale,verified,metadata.plan
42,ada@example.com,Ada Lovelace,en,no,gold
43,bo@example.com,"Berg, Bo ""the"" second",de,yes,
"""
NDJSON_EXAMPLE = """\
{"external_id": "42", "email": "ada@example.com", "name": "Ada Lovelace", "locale": "en", "metadata": {"plan": "gold"}}
{"external_id": "43", "email": "bo@example.com", "name": "Bo Berg", "verified": true}
"""
HEADER_RULE = (
    "The first line names the columns, separated by commas: external_id, email and name are required; locale, verified "
    "and metadata (or a column metadata.KEY for each key) are optional. For example the line "
    "`external_id,email,name`, and below it `42,ada@example.com,Ada Lovelace`"
)


def columns_as_text() -> str:
    """One line for each column."""
    lines = [f"  {name:<12} {text}" for name, text in REQUIRED.items()]
    return "\n".join([*lines, *(f"  {name:<12} optional: {text}" for name, text in OPTIONAL.items())])
