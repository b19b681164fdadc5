"""`python -m rag_api migrate`: bring the database to the newest schema."""

from __future__ import annotations

import argparse
import os
import sys

import sqlalchemy.exc

from rag_api.migrate import migrate
from rag_api.secret import WeakSecretError
from rag_api.settings import SettingsError, load_settings


def main(argv: list[str]) -> int:
    """Run the command of the command line; returns the exit status, 2 for wrong settings."""
    parser = argparse.ArgumentParser(prog="python -m rag_api", description="Administration of the RAG service.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("migrate", help="bring the database to the newest schema")
    parser.parse_args(argv)
    try:
        revision = migrate(load_settings(os.environ))
    except (SettingsError, WeakSecretError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except sqlalchemy.exc.OperationalError as error:
        sys.stderr.write(f"The database cannot be reached: {error.orig}\n")
        return 1
    sys.stdout.write(f"The database is at revision {revision}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
