"""How much of a notice is read, whichever way it comes: as much as `POST /v1/bounces` takes."""

# A notice may quote a whole mail with attachments. The parser has bounds of its own for what it looks at.
LARGEST_NOTICE_BYTES = 10 << 20
