"""A second reader of MIME, which shares no code with Python's `email`: only what RFC 2045, 2046 and 2231 say."""

import base64
import quopri
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

_DECODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"7bit": bytes,
    b"base64": base64.b64decode,
    b"quoted-printable": quopri.decodestring,
}


@dataclass(frozen=True)
class Leaf:
    """A part that is no multipart; `path` names the multiparts around it."""

    path: tuple[str, ...]
    media_type: str
    headers: dict[str, str]
    data: bytes

    @property
    def filename(self) -> str:
        value = self.headers["content-disposition"]
        if plain := re.search(r'; filename="([^"]*)"', value):
            return plain[1]
        numbered = {int(n or 0): text for n, text in re.findall(r"; filename\*(?:([0-9]+)\*)?=([^;]*)", value)}
        assert sorted(numbered) == list(range(len(numbered)))
        charset, _, encoded = "".join(numbered[n] for n in sorted(numbered)).split("'", 2)
        return unquote_to_bytes(encoded).decode(charset)


def leaves(message: bytes, path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """The leaves in order. A broken structure raises AssertionError."""
    head, separator, body = message.partition(b"\r\n\r\n")
    assert separator
    lines = head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").split(b"\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.decode().partition(":") for line in lines)}
    assert len(headers) == len(lines), "a header twice"
    media_type = headers["content-type"].partition(";")[0]
    if not media_type.startswith("multipart/"):
        yield Leaf(path, media_type, headers, _DECODERS[headers["content-transfer-encoding"].encode()](body))
        return
    found = re.search(r'; boundary="([^"]+)"', headers["content-type"])
    assert found is not None
    delimiter = f"\r\n--{found[1]}".encode()
    before, *parts, after = (b"\r\n" + body).split(delimiter)
    assert before == b""
    assert after == b"--\r\n"
    for part in parts:
        assert part.startswith(b"\r\n")
        yield from leaves(part[2:], (*path, media_type))
