"""`python -m rag_api`: bring the database to the newest schema, build the word index, fetch the models."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

import psycopg
import sqlalchemy.exc

from rag_api.fetching import FetchError, fetch_models
from rag_api.migrate import SchemaTooNewError, migrate
from rag_api.passwords import NotAVerifierError, PasswordRefusedError, set_verifier
from rag_api.secret import WeakSecretError
from rag_api.settings import SettingsError, load_settings
from rag_api.worker.words import IndexInUseError, WrongPlaceError, build_words


def main(argv: list[str]) -> int:
    """Run the command of the command line; returns the exit status: 2 for wrong settings, 3 for a password that the
    database does not know."""
    parser = argparse.ArgumentParser(prog="python -m rag_api", description="Administration of the RAG service.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("migrate", help="bring the database to the newest schema")
    words = commands.add_parser("build-words", help="build the word index anew while no ingest worker runs")
    words.add_argument("--database", help="of another database of the same server")
    words.add_argument("--beside", metavar="NAME", help="into a folder of that name beside the index, which stays")
    commands.add_parser("fetch-models", help="have the model server fetch the models it does not have yet")
    password = commands.add_parser("set-password", help="give the service's role of the database another password")
    password.add_argument("verifier", help="what the server keeps of it (SCRAM)")
    wanted = parser.parse_args(argv)
    try:
        told = COMMANDS[wanted.command](wanted)
    except (SettingsError, WeakSecretError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except sqlalchemy.exc.OperationalError as error:
        sys.stderr.write(f"The database cannot be reached: {error.orig}\n")
        return 1
    except psycopg.OperationalError as error:
        sys.stderr.write(f"The database cannot be reached: {error}\n")
        return 1
    except PasswordRefusedError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    except (NotAVerifierError, IndexInUseError, WrongPlaceError, FetchError, SchemaTooNewError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{told}\n")
    return 0


def _migrate(_wanted: argparse.Namespace) -> str:
    return f"The database is at revision {migrate(load_settings(os.environ))}."


def _build_words(wanted: argparse.Namespace) -> str:
    count = build_words(load_settings(os.environ), database=wanted.database, beside=wanted.beside)
    return f"The word index holds {count} passages."


def _fetch_models(_wanted: argparse.Namespace) -> str:
    # Needs no database and no secret, so it is given none.
    fetched = fetch_models(os.environ)
    return f"Fetched {' and '.join(fetched)}." if fetched else "Both models are there."


def _set_password(wanted: argparse.Namespace) -> str:
    set_verifier(load_settings(os.environ), wanted.verifier)
    return "The role has another password."


COMMANDS: dict[str, Callable[[argparse.Namespace], str]] = {
    "migrate": _migrate,
    "build-words": _build_words,
    "fetch-models": _fetch_models,
    "set-password": _set_password,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
