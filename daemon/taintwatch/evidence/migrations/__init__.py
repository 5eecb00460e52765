"""How the tables in PostgreSQL came about, step by step (Alembic)."""
