"""Two indexes for the list of mails: by template, and by tag. Without them a rare one is looked for in every mail.

Building them holds up what writes mails. docs/upgrading.md says how to build them before.

Revises: 0004
"""

from migrations import statements

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements.execute(
        [
            "CREATE INDEX IF NOT EXISTS mails_template ON mails (template, id) WHERE template IS NOT NULL",
            "CREATE INDEX IF NOT EXISTS mails_tags ON mails USING gin (tags) WHERE tags <> '{}'",
        ]
    )


def downgrade() -> None:
    statements.execute(["DROP INDEX mails_template, mails_tags"])
