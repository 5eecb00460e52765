"""What Alembic runs to migrate: over the connection that `PostgresHistory` gives it, in one transaction."""

from __future__ import annotations

from alembic import context

__all__: list[str] = []

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
