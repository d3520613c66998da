"""Files for tests of attachments, as a client sends them."""

import base64
import random
from typing import Any

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def pdf(size: int = 2_000, seed: int = 1) -> bytes:
    """Begins and ends like a PDF, with random bytes between; every byte value occurs."""
    frame = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", b"\r\n.\r\n%%EOF\n"
    return frame[0] + random.Random(seed).randbytes(size - sum(map(len, frame))) + frame[1]


def sent(
    data: bytes, filename: str = "invoice.pdf", content_type: str = "application/pdf", **more: Any
) -> dict[str, Any]:
    content = base64.b64encode(data).decode()
    return {"filename": filename, "content_type": content_type, "content": content, **more}


def image(data: bytes = PNG, content_id: str = "logo") -> dict[str, Any]:
    return sent(data, "logo.png", "image/png", content_id=content_id)
