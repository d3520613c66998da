"""SQL that reads, lists and wipes attachments."""

# $1 the mail. As JSON, beside its content.
LIST_ATTACHMENTS = """
SELECT coalesce(json_agg(json_build_object(
    'n', a.n, 'filename', a.filename, 'content_type', a.content_type, 'content_id', a.content_id, 'size', a.size,
    'sha256', encode(a.sha256, 'hex')
) ORDER BY a.n), '[]')::text
FROM attachments a WHERE a.mail_id = $1
"""

# $1 the mail, $2 the client, or NULL for all, $3 the number. No row: no such mail.
FIND_ATTACHMENT = """
SELECT a.sha256, a.filename, a.content_type, a.size, EXISTS (SELECT FROM contents WHERE mail_id = m.id) AS has_content
FROM mails m LEFT JOIN attachments a ON a.mail_id = m.id AND a.n = $3
WHERE m.id = $1 AND ($2::text IS NULL OR m.client = $2)
"""

# $2 where to begin, counted from 1, $3 how many bytes. Reads only that part of the stored value.
READ_PIECE = "SELECT substring(bytes FROM $2 FOR $3) FROM attachment_blobs WHERE sha256 = $1"

# Part of a statement that wipes the content of the mails in `{mails}`. Bytes are retention's to delete: many mails at a
# time would be gigabytes in one statement.
ATTACHMENTS_WIPED = """
attachments_wiped AS (
    DELETE FROM attachments WHERE mail_id = ANY(ARRAY(SELECT id FROM {mails})) RETURNING sha256
)
"""

# The same with the bytes that no other mail has. A mail that refers to them since this statement began makes it fail
# with a foreign key violation; it can run again.
ATTACHMENTS_AND_BYTES_WIPED = f"""
{ATTACHMENTS_WIPED.strip()},
bytes_wiped AS (
    DELETE FROM attachment_blobs b
    WHERE b.sha256 = ANY(ARRAY(SELECT sha256 FROM attachments_wiped)) AND NOT EXISTS (
        SELECT FROM attachments a
        WHERE a.sha256 = b.sha256 AND a.mail_id <> ALL(ARRAY(SELECT id FROM {{mails}}))
    )
)
"""

# Looks at the $2 blobs after $1. May fail as above.
DELETE_BLOBS_IF_UNUSED = """
WITH seen AS MATERIALIZED (
    SELECT sha256 FROM attachment_blobs WHERE sha256 > $1 ORDER BY sha256 LIMIT $2
), deleted AS (
    DELETE FROM attachment_blobs b
    WHERE b.sha256 = ANY(ARRAY(SELECT sha256 FROM seen))
      AND NOT EXISTS (SELECT FROM attachments a WHERE a.sha256 = b.sha256)
)
SELECT count(*) AS seen, (SELECT sha256 FROM seen ORDER BY sha256 DESC LIMIT 1) AS last FROM seen
"""
