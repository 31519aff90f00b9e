# pyright: basic, reportUnknownArgumentType=false
"""Characters are deleted in two steps: clips soon, rows after a day."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Note when they were deleted."""
    op.add_column("characters", sa.Column("deleted_at", sa.BigInteger(), nullable=True))
    op.create_index("ix_characters_deleted_at", "characters", ["deleted_at"])
