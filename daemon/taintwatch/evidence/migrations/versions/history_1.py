"""The first tables: the same as in SQLite's file (`taintwatch.evidence.database`)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

__all__ = ["down_revision", "downgrade", "revision", "upgrade"]

revision = "1"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "alerts",
        sa.Column("event_id", sa.Text, primary_key=True),
        sa.Column("daemon", sa.Text, nullable=False),
        sa.Column("site", sa.Text, nullable=False),
        sa.Column("camera", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("raised_wall_ns", sa.BigInteger, nullable=False),
        sa.Column("wall_ns", sa.BigInteger, nullable=False),
        sa.Column("label_name", sa.Text, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
    )
    op.create_index("alerts_by_time", "alerts", ["raised_wall_ns"])
    op.create_index("alerts_by_camera", "alerts", ["site", "camera", "raised_wall_ns"])
    op.create_table(
        "records",
        sa.Column("daemon", sa.Text, primary_key=True),
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("json", sa.Text, nullable=False),  # text: its hash is over each character
        sa.Column("previous", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.UniqueConstraint("topic", "instance", "sequence"),
    )
    op.create_index("records_by_event", "records", ["event_id"])
    for table in ("forgotten", "heads"):
        key: list[sa.Column[Any]] = [sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False)]
        if table == "heads":
            key = [sa.Column("kind", sa.Text, primary_key=True), sa.Column("id", sa.BigInteger, nullable=False)]
        previous = [sa.Column("previous", sa.Text, nullable=False)] if table == "forgotten" else []
        op.create_table(
            table,
            sa.Column("daemon", sa.Text, primary_key=True),
            *key,
            *previous,
            sa.Column("hash", sa.Text, nullable=False),
            sa.Column("signature", sa.Text, nullable=False),
        )
    op.create_table(
        "annotations",
        sa.Column("event_id", sa.Text, sa.ForeignKey("alerts.event_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("acknowledged_wall_ns", sa.BigInteger),
        sa.Column("note", sa.Text, nullable=False, server_default=""),
    )
    op.create_table(
        "deliveries",
        sa.Column("daemon", sa.Text, primary_key=True),
        sa.Column("sink", sa.Text, primary_key=True),
        sa.Column("id", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Remove them, and all that is in them."""
    for table in ("deliveries", "annotations", "heads", "forgotten", "records", "alerts"):
        op.drop_table(table)
