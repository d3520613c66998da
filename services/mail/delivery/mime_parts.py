"""Attachments as MIME parts around the body of a mail. The same content gives the same bytes in any process."""

from base64 import encodebytes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import quote
from uuid import UUID

# No quoted-printable or base64 line can begin like this (RFC 2045 section 6.7), and no 7-bit body contains it.
BOUNDARY_START = "=_"
_LINE = 78
# attribute-char of RFC 2231, besides letters and digits.
_UNENCODED = "!#$&+-.^_`{|}~"


@dataclass(frozen=True, slots=True)
class AttachedFile:
    filename: str
    content_type: str
    content_id: str | None  # without angle brackets; then it belongs to the HTML
    data: bytes = field(repr=False)


def boundary(mail_id: UUID, subtype: str = "") -> str:
    """Of the multipart of this subtype. All are equally long, so that none begins like another."""
    return BOUNDARY_START + sha256(mail_id.bytes + subtype.encode()).hexdigest()[:32]


def with_files(body: bytes, files: Sequence[AttachedFile], mail_id: UUID) -> Iterator[bytes]:
    """The entity `body`, its header included, with its attachments: pieces, which follow each other.

    Inline images stand beside the body (multipart/related, RFC 2387), the other files after it (multipart/mixed).
    """
    inline = [_part(file) for file in files if file.content_id is not None]
    others = [_part(file) for file in files if file.content_id is None]
    entity: Iterator[bytes] = iter([body])
    if inline:
        root = body[: body.index(b";")].removeprefix(b"Content-Type: ").decode("ascii")
        entity = _multipart("related", [entity, *inline], mail_id, f';\r\n type="{root}"')
    if others:
        entity = _multipart("mixed", [entity, *others], mail_id)
    return entity


def _multipart(subtype: str, parts: Sequence[Iterator[bytes]], mail_id: UUID, parameters: str = "") -> Iterator[bytes]:
    name = boundary(mail_id, subtype)
    yield f'Content-Type: multipart/{subtype};\r\n boundary="{name}"{parameters}\r\n'.encode()
    for part in parts:
        yield f"\r\n--{name}\r\n".encode()
        yield from part
    yield f"\r\n--{name}--\r\n".encode()


def _part(file: AttachedFile) -> Iterator[bytes]:
    disposition = "attachment" if file.content_id is None else "inline"
    fields = [
        "Content-Type: " + ";\r\n ".join(piece.strip() for piece in file.content_type.split("; ")),
        f"Content-Disposition: {disposition};\r\n {filename_parameter(file.filename)}",
        "Content-Transfer-Encoding: base64",
    ]
    if file.content_id is not None:
        fields.append(f"Content-ID: <{file.content_id}>")
    yield ("\r\n".join(fields) + "\r\n\r\n").encode("ascii")
    yield encodebytes(file.data).replace(b"\n", b"\r\n")


def filename_parameter(filename: str) -> str:
    """`filename` as RFC 2183 writes it if it is short and plain, else by RFC 2231: in UTF-8, on several lines."""
    plain = f'filename="{filename}"'
    # Many readers decode what looks like an encoded word also here; and few read an escaped quote.
    is_plain = filename.isascii() and filename.isprintable() and '"' not in filename and "=?" not in filename
    if is_plain and len(plain) < _LINE:
        return plain
    whole = "filename*=utf-8''" + quote(filename, safe=_UNENCODED)
    if len(whole) < _LINE:
        return whole
    return ";\r\n ".join(_continued(filename))


def _continued(filename: str) -> Iterator[str]:
    """No character is split: some readers decode each line alone."""
    number, line = 0, "filename*0*=utf-8''"
    for character in filename:
        encoded = quote(character, safe=_UNENCODED)
        if len(line) + len(encoded) > _LINE - 2:
            yield line
            number += 1
            line = f"filename*{number}*="
        line += encoded
    yield line
