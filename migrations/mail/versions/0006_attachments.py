"""Files that go with mails: the bytes once by their SHA-256, and which mail has which, under what name.

Revises: 0005
"""

from migrations import statements

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ATTACHMENTS = (
    # EXTERNAL: most files are compressed formats, and a part of the bytes can be read without the rest.
    """
    CREATE TABLE attachment_blobs (
        sha256 bytea PRIMARY KEY,
        bytes bytea STORAGE EXTERNAL NOT NULL,
        CHECK (sha256 = sha256(bytes))
    )
    """,
    # Wiped with the content of its mail. Bytes that no mail refers to any more are deleted after it.
    """
    CREATE TABLE attachments (
        mail_id uuid NOT NULL REFERENCES mails (id),
        n smallint NOT NULL CHECK (n >= 0),
        sha256 bytea NOT NULL REFERENCES attachment_blobs (sha256),
        filename text NOT NULL CHECK (octet_length(filename) BETWEEN 1 AND 255 AND filename !~ '[/\\\\[:cntrl:]]'),
        content_type text NOT NULL,
        content_id text,
        size integer NOT NULL CHECK (size > 0),
        PRIMARY KEY (mail_id, n)
    )
    """,
    "CREATE INDEX attachments_sha256 ON attachments (sha256)",
)


def upgrade() -> None:
    role = statements.runtime_role()
    statements.execute([*_ATTACHMENTS, f"GRANT SELECT, INSERT, DELETE ON attachments, attachment_blobs TO {role}"])


def downgrade() -> None:
    statements.execute(["DROP TABLE attachments, attachment_blobs"])
