"""A new password for the service's own role of the database, told by what the server keeps of it."""

from __future__ import annotations

import re

import psycopg
from psycopg import sql

from rag_api.settings import Settings

# RFC 5803, as PostgreSQL stores it.
VERIFIER = re.compile(r"SCRAM-SHA-256\$\d+:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+")


class NotAVerifierError(ValueError):
    """What was given is no SCRAM verifier; a password has no place on a command line."""


class PasswordRefusedError(Exception):
    """The database does not know the password that the service has."""


def set_verifier(settings: Settings, verifier: str) -> None:
    """From now on the role's password is the one of this verifier; connections that are open stay.

    Raises:
        NotAVerifierError: it is none.
        PasswordRefusedError: the present password is not right, perhaps because this was done before.
        psycopg.OperationalError: the database cannot be reached.
    """
    if not VERIFIER.fullmatch(verifier):
        raise NotAVerifierError("expected a SCRAM verifier: SCRAM-SHA-256$<iterations>:<salt>$<stored>:<server>")
    try:
        with psycopg.connect(settings.postgres_conninfo(), autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(sql.Literal(verifier)))
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error):
            raise PasswordRefusedError("the database refused the password that the service has") from None
        raise
