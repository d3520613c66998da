"""Alembic's environment for the signup database: the URL of its owner role comes from SIGNUP_DATABASE_URL."""

from migrations.environment import run
from services.signup.tables import metadata

run(
    metadata, url_variable="SIGNUP_DATABASE_URL", runtime_role_variable="SIGNUP_RUNTIME_ROLE", default_role="signup_app"
)
