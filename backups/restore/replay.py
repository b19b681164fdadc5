"""Commands that finish or undo an interrupted swap from its journal alone, where the portal cannot."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from backups.errors import BackupError, JobInvalid
from backups.restore import revocations, swap
from backups.restore.database import Server
from backups.restore.errors import NothingStaged
from backups.restore.swap import Target
from backups.secret import Secret

VOLUMES = ("documents", "vectors", "models", "index")

_Commands = argparse._SubParsersAction


def add_commands(commands: _Commands[argparse.ArgumentParser]) -> None:
    """Add `finish` and `undo` to a parser."""
    _command(commands, "finish", _finish, "finish an interrupted restore: the set's data becomes live")
    _command(commands, "undo", _undo, "undo a restore, finished or not: the data from before becomes live")


def _command(commands: _Commands[argparse.ArgumentParser], name: str, act: Callable[[Target], str], text: str) -> None:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ". Only Postgres may run.")
    parser.add_argument("--operation", required=True, metavar="ID", help="as in the name of swap-ID.json")
    parser.add_argument(
        "--volumes", type=Path, required=True, metavar="FOLDER", help="where documents, vectors, ... are"
    )
    parser.add_argument("--password-file", type=Path, required=True, metavar="FILE", help="password of the database")
    parser.add_argument("--host", default="127.0.0.1", help="of Postgres (default: %(default)s)")
    parser.add_argument("--port", type=int, default=5432, help="of Postgres (default: %(default)s)")
    parser.add_argument("--user", default="rag", help="of Postgres (default: %(default)s)")
    parser.add_argument("--database", default="rag", help="name of the live database (default: %(default)s)")
    parser.set_defaults(run=lambda arguments: _run(arguments, act))


def _run(arguments: argparse.Namespace, act: Callable[[Target], str]) -> int:
    try:
        target = _target(arguments)
        if target.journal() is None:
            raise NothingStaged(
                f"no volume below {arguments.volumes} holds a journal swap-{arguments.operation}.json",
                "Nothing was begun by that operation, so there is nothing to finish or undo.",
            )
        sys.stdout.write(act(target) + "\n")
    except BackupError as error:
        sys.stderr.write(f"{error.message}\n{error.remedy}\n")
        return 1
    return 0


def _finish(target: Target) -> str:
    if target.server is not None:
        revocations.carry_over(target.server, target.names, lambda: None, _warn)
    journal = swap.swap(target, None, _pass)
    return f"The data of set {journal.set_id} is live; the data from before is kept beside it."


def _undo(target: Target) -> str:
    swap.unswap(target, _pass)
    return "The data from before the restore is live again; the set's data lies in staging."


def _target(arguments: argparse.Namespace) -> Target:
    try:
        password = Secret.from_file(arguments.password_file)
    except (OSError, ValueError) as error:
        raise JobInvalid(f"the password file cannot be read: {error}", "Name the right file.") from None
    server = Server(arguments.host, arguments.port, arguments.user, password)
    volumes = {name: arguments.volumes / name for name in VOLUMES}
    return Target(volumes=volumes, server=server, database=arguments.database, operation=arguments.operation)


def _pass(_point: str) -> None:
    """No portal, so no fence."""


def _warn(message: str) -> None:
    sys.stderr.write(message + "\n")
