"""Schema migrations of the RAG database."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from rag_api.db import LOCK_CLASS, MIGRATION_LOCK
from rag_api.settings import Settings


def migrate(settings: Settings) -> str:
    """Bring the database to the newest schema and return its revision; a second caller waits for the first."""
    url = make_url(settings.postgres_conninfo()).set(drivername="postgresql+psycopg")
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        lock = {"class": LOCK_CLASS, "key": MIGRATION_LOCK}
        connection.execute(text("SELECT pg_advisory_lock(:class, :key)"), lock)
        connection.commit()
        try:
            command.upgrade(_config(connection), "head")
            connection.commit()
            return MigrationContext.configure(connection).get_current_revision() or ""
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:class, :key)"), lock)
            connection.commit()


def newest_revision() -> str:
    """The revision that this program's code expects."""
    return ScriptDirectory.from_config(_config(None)).get_current_head() or ""


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config
