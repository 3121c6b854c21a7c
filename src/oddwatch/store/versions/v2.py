"""Usual moments that are most like an event."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Events of before have none."""
    op.add_column("events", sa.Column("similar", sa.JSON(none_as_null=True), nullable=True))
