"""A person's judgement of an alert."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["down_revision", "downgrade", "revision", "upgrade"]

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Add the column."""
    op.add_column("annotations", sa.Column("judgement", sa.Text))


def downgrade() -> None:
    """Remove it, with what is in it."""
    op.drop_column("annotations", "judgement")
