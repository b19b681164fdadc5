"""Schema migrations of the RAG database."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from rag_api.db import LOCK_CLASS, MIGRATION_LOCK
from rag_api.schema import FOLDER, NOTE, READ, lineage, newest_revision, oldest_code, read_schema
from rag_api.settings import Settings


class SchemaTooNewError(Exception):
    """The database has a schema that this program cannot work with."""


def migrate(settings: Settings) -> str:
    """Bring the database to the newest schema and return its revision; a second caller waits for the first.

    A newer schema stays as it is.

    Raises:
        SchemaTooNewError: a newer one that this program cannot work with.
    """
    url = make_url(settings.postgres_conninfo()).set(drivername="postgresql+psycopg")
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        lock = {"class": LOCK_CLASS, "key": MIGRATION_LOCK}
        connection.execute(text("SELECT pg_advisory_lock(:class, :key)"), lock)
        connection.commit()
        try:
            return _migrate(connection)
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:class, :key)"), lock)
            connection.commit()


def _migrate(connection: Connection) -> str:
    present = MigrationContext.configure(connection).get_current_revision()
    if present is not None and present not in lineage():
        _demand_fit(connection)
        return present
    command.upgrade(_config(connection), "head")
    connection.execute(text(f"COMMENT ON TABLE alembic_version IS '{NOTE}{oldest_code()}'"))
    connection.commit()
    return newest_revision()


def _demand_fit(connection: Connection) -> None:
    found = read_schema(dict(connection.execute(text(READ)).mappings().one()))
    if not found.fits:
        raise SchemaTooNewError(
            f"The schema of the database is {found.database} and needs code of {found.oldest} or later; "
            f"this program knows {found.code}. Deploy the newer release, or restore a set of this one's time."
        )


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    return config
