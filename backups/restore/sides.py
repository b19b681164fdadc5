"""The database from before a restore and the set's, whichever names they have just now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psycopg

from backups.errors import SourceMissing
from backups.restore import database
from backups.restore.database import DatabaseNames, Server

# The services stand still meanwhile: a database that does not answer by then is given up.
_SECONDS = 60

Warn = Callable[[str], None]


class CannotError(Exception):
    """Why something cannot be carried over, as a part of a sentence."""


def databases(server: Server, names: DatabaseNames) -> tuple[str, str]:
    """(database that is or was live, database of the set): both are renamed in one transaction.

    Raises:
        CannotError: there is none from before.
    """
    oids = server.oids()
    live, restored = (names.live, names.staging) if names.staging in oids else (names.kept, names.live)
    if live not in oids:
        raise CannotError(f"there is no database {names.live} from before the restore")
    return live, restored


@contextmanager
def reading(server: Server, name: str) -> Iterator[psycopg.Connection]:
    """A connection that can only read.

    Raises:
        CannotError: the service of that database does not know what is asked.
    """
    with database.enter(server, name) as connection:
        connection.execute("SET default_transaction_read_only = on")
        _limit(connection)
        try:
            yield connection
        except psycopg.errors.UndefinedTable:
            raise CannotError(f"the database {name} is of a service too old to list them, or damaged") from None


@contextmanager
def changing(server: Server, name: str, listed: Sequence[str] = ()) -> Iterator[psycopg.Connection]:
    """A connection in one transaction: all changes or, when one fails, none.

    Raises:
        CannotError: the service of that database cannot do what is asked.
    """
    with database.enter(server, name) as connection:
        _limit(connection)
        try:
            with connection.transaction():
                yield connection
        except (psycopg.errors.UndefinedFunction, psycopg.errors.UndefinedTable):
            named = f" ({some(listed)})" if listed else ""
            raise CannotError(f"the set is of a service too old to take them{named}") from None


@contextmanager
def excused(warn: Warn, what: str, consequence: str) -> Iterator[None]:
    """Let a restore go on when `what` cannot be carried over, and say so with the consequence."""
    try:
        yield
    except (CannotError, SourceMissing) as problem:
        warn(f"{what} were not carried over: {problem}. {consequence}")
    except psycopg.Error as error:
        warn(f"{what} were not carried over: Postgres says {first_line(error)!r}. {consequence}")


def first_line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def some(names: Sequence[str], shown: int = 10) -> str:
    """The first names and how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")


def _limit(connection: psycopg.Connection) -> None:
    connection.execute("SELECT set_config('statement_timeout', %s, false)", (f"{_SECONDS}s",))
