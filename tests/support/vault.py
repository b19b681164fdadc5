"""Real restic repositories with small real sets in them, the real agent, and the portal's operations around them."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection
from pytest_django import Settings

from backups import process
from backups.job import RepositoryPlace
from backups.maintenance import Maintenance
from backups.manifest import FileEntry, Manifest, SourceFigures
from backups.restic import environment
from config.celery import app
from portal.operations.models import Operation
from portal.operations.services import operation_start
from portal.operations.worker import execute
from portal.vaults import jobs
from portal.vaults.models import BackupSet, Repository, SetState
from tests.support import servers

TAKEN = datetime(2026, 1, 10, 2, 30, tzinfo=UTC)


# In front of restic: once, for the command that the file `armed` names, it waits until that has changed the index or
# data of the repository, then kills restic and the agent.
KILLER = """#!/bin/sh
restic={restic} armed={armed}
if [ -f $armed ] && word=$(cat $armed); then
  case " $* " in *" $word "*)
    rm $armed
    state() {{ find $RESTIC_REPOSITORY/index $RESTIC_REPOSITORY/data -type f | sort | cksum; }}
    before=$(state)
    $restic "$@" &
    while kill -0 $! 2>/dev/null && [ "$(state)" = "$before" ]; do :; done
    kill -9 $! $PPID
    exit 1
  esac
fi
exec $restic "$@"
"""


class Vault:
    """Repositories below `root`, which is the portal's VAR_DIR too."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def repository(self, name: str = "default", *, url: str = "", init: bool = True, **fields: object) -> Repository:
        """A repository and its row; in a folder of its own unless `url` says otherwise."""
        password = self.root / f"{name}.password"
        password.write_text(f"password of {name}\n")
        row = Repository.objects.create(
            name=name, url=url or str(self.root / "repositories" / name), password_file=str(password), **fields
        )
        if init:
            Path(row.url if row.is_local else self.root).mkdir(parents=True, exist_ok=True)
            self.restic(row, "init")
            row.restic_id = self.maintenance(row).open()
            row.save()
        return row

    def stocked(self, stock: Stock, name: str = "default", **fields: object) -> tuple[Repository, list[BackupSet]]:
        """A repository with the sets of `stock`, oldest first: a copy of its files, which costs no start of restic."""
        row = self.stocked_without_sets(stock, name, **fields)
        sets = [
            BackupSet.objects.create(
                id=set_id, stack="rag", repository=row, state=SetState.COMPLETE, taken_at=taken, snapshot_id=snapshot
            )
            for set_id, taken, snapshot in stock.sets
        ]
        return row, sets

    def stocked_without_sets(self, stock: Stock, name: str, **fields: object) -> Repository:
        """The same files as a repository whose sets nobody here knows."""
        url = self.root / "repositories" / name
        shutil.copytree(stock.folder, url)
        password = str(stock.folder.with_name("password"))
        return Repository.objects.create(
            name=name, url=str(url), password_file=password, restic_id=stock.restic_id, **fields
        )

    def maintenance(self, row: Repository) -> Maintenance:
        given = Path(row.credentials_file) if row.credentials_file else None
        place = RepositoryPlace(row.restic_id, row.url, Path(row.password_file), given)
        return Maintenance(place, servers.RESTIC, self.root / "cache")

    def restic(self, row: Repository, *words: str, check: bool = True, cwd: Path | None = None) -> process.Completed:
        """Plain restic, as somebody at a shell has it."""
        env = environment(row.url, Path(row.password_file), self.root / "cache/restic", os.environ)
        return process.run((servers.RESTIC, *words), env=env, check=check, cwd=cwd)

    def add_set(self, row: Repository, **fields: object) -> BackupSet:
        """One more set, stored by restic, and its row."""
        taken = TAKEN + timedelta(days=BackupSet.objects.count())
        name = store_set(self.root / "work", taken, lambda words, cwd: self.restic(row, *words, cwd=cwd))
        values = {"stack": "rag", "repository": row, "state": SetState.COMPLETE, "taken_at": taken, **fields}
        return BackupSet.objects.create(id=name, snapshot_id=self.maintenance(row).sets()[name].id, **values)

    def run(self, kind: str, target: Repository | str, **params: object) -> Operation:
        """Start an operation and work on it here until it ends."""
        scope = target if isinstance(target, str) else target.scope
        operation = operation_start(kind=kind, target=scope, params=params)
        execute(operation.pk)
        operation.refresh_from_db()
        return operation

    @contextmanager
    def background(self, kind: str, target: Repository | str, **params: object) -> Iterator[Operation]:
        """Work on an operation in a thread; it has ended when the block has."""
        scope = target if isinstance(target, str) else target.scope
        operation = operation_start(kind=kind, target=scope, params=params)

        def work() -> None:
            execute(operation.pk)
            connection.close()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield operation
        finally:
            thread.join(60)

    def kill_agent_during(self, command: str) -> None:
        """Have restic and the agent killed the hard way, once, when this command has changed something."""
        self.wrapper.write_text(KILLER.format(restic=servers.RESTIC, armed=self.armed))
        self.wrapper.chmod(0o700)
        self.armed.write_text(command)

    @property
    def wrapper(self) -> Path:
        return self.root / "restic"

    @property
    def armed(self) -> Path:
        return self.root / "armed"

    @property
    def restic_tool(self) -> Path:
        return self.wrapper if self.wrapper.exists() else servers.RESTIC

    def pack_of(self, row: Repository, found: BackupSet) -> Path:
        """A data file that this set needs and no other of a stock does."""
        for pack in self.packs(row):
            done = self.restic(row, "--json", "--no-lock", "find", "--pack", pack.name)
            if found.snapshot_id in done.stdout:
                return pack
        raise AssertionError(f"no pack of {found.pk}")

    def packs(self, row: Repository) -> list[Path]:
        """The data files of a local repository, largest first."""
        return sorted(Path(row.url).glob("data/*/*"), key=lambda path: -path.stat().st_size)


@dataclass(frozen=True, slots=True)
class Stock:
    """A repository to copy. `sets`: id, time and snapshot of each, oldest first; each has data that no other needs."""

    folder: Path
    restic_id: str
    sets: tuple[tuple[str, datetime, str], ...]


def stock(root: Path, sets: int = 3) -> Stock:
    """Make a repository with some sets."""
    folder, password = root / "repository", root / "password"
    password.write_text("password of the stock\n")
    env = environment(str(folder), password, root / "cache", os.environ)

    def restic(words: Sequence[str], cwd: Path) -> None:
        process.run((servers.RESTIC, *words), env=env, cwd=cwd)

    restic(("init",), root)
    taken = [TAKEN + timedelta(days=number) for number in range(sets)]
    names = [store_set(root / "work", at, restic) for at in taken]
    repository = Maintenance(RepositoryPlace("", str(folder), password), servers.RESTIC, root / "cache")
    listed = repository.sets()
    rows = tuple((name, at, listed[name].id) for name, at in zip(names, taken, strict=True))
    return Stock(folder, repository.open(), rows)


@pytest.fixture(scope="session")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    return stock(tmp_path_factory.mktemp("stock"))


def store_set(work: Path, taken: datetime, restic: Callable[[Sequence[str], Path], object]) -> str:
    """Store a small set with `restic(words, cwd)`; returns its id."""
    name = f"{taken:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    folder = work / name
    content = {"config/own.bin": os.urandom(200_000), "config/stack.yaml": f"name: {name}\n".encode()}
    for path, data in content.items():
        (folder / "set" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "set" / path).write_bytes(data)
    _manifest(name, taken, content).write(folder / "set/set.json")
    tags = [word for tag in ("ragkeep", f"set:{name}", "stack:rag") for word in ("--tag", tag)]
    at = f"{taken:%Y-%m-%d %H:%M:%S}"
    restic(("backup", "--quiet", "--host", "rag-production", "--time", at, *tags, "set"), folder)
    return name


def flip_bit(path: Path, at: int = 5000) -> None:
    """Damage one bit of a file, as an aging disk does."""
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 1
    path.write_bytes(content)


def _manifest(name: str, taken: datetime, content: Mapping[str, bytes]) -> Manifest:
    files = tuple(
        FileEntry("config", path, len(data), hashlib.sha256(data).hexdigest()) for path, data in content.items()
    )
    return Manifest(
        set_id=name,
        operation="00000000-0000-0000-0000-000000000000",
        state="complete",
        stack="rag",
        environment="production",
        host="rag-production",
        taken_at=taken,
        freeze_ms=10.0,
        versions={"postgres_major": 18},
        counts={},
        collections=(),
        models=(),
        sources={"config": SourceFigures(len(files), sum(entry.bytes for entry in files))},
        roots={},
        files=files,
        canary=(),
    )


@pytest.fixture
def vault(settings: Settings, valkey_server: servers.Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vault:
    settings.VAR_DIR = tmp_path
    settings.VALKEY_URL = app.conf["broker_url"] = valkey_server.url
    settings.OPERATION_HEARTBEAT_SECONDS = 0.05
    settings.OPERATION_STALE_SECONDS = 0
    monkeypatch.setenv("RAGKEEP_VAR", str(tmp_path))
    made = Vault(tmp_path)
    monkeypatch.setattr(jobs, "_tool", lambda name: made.restic_tool if name == "restic" else servers.PG_BIN / name)
    return made
