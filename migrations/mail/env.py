"""Alembic's environment for the mail database: the URL of its owner role comes from MAIL_DATABASE_URL."""

from migrations.environment import run
from services.mail.tables import metadata

run(metadata, url_variable="MAIL_DATABASE_URL", runtime_role_variable="MAIL_RUNTIME_ROLE", default_role="mail_app")
