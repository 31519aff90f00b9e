"""What alembic runs: the steps, on the connection that `Database.migrate` holds."""

from alembic import context

from unstatic.server.tables import Table

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Table.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
