"""What Alembic runs to migrate: over the connection it was handed, in the transaction that stands there."""

from alembic import context

from paystate.migrations.schema import whole_metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=whole_metadata())
context.run_migrations()
