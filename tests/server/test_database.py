from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from unstatic.server.database import Database
from unstatic.server.tables import Table


def test_the_steps_lead_to_the_tables(database: Database):
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []
