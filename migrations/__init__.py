"""Two Alembic histories, one for each database. `alembic -c migrations/alembic.ini -n signup|mail …`."""
