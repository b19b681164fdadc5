"""Pages of the list of 10,000 sets: real Postgres, the real ASGI application over HTTP, signed in, timed at the client.

The alternative is how a list is had without a database: `restic snapshots` of a repository with as many snapshots.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from backups import process
from tests.bench.harness import Bound, Measure, Place, Report, in_turn, milliseconds, spread
from tests.support import servers

if TYPE_CHECKING:
    from portal.vaults.models import BackupSet

SETS = 10_000
PROMISED_MS = 200.0
# How an operator walks through the list.
PAGES = {
    "first page": "/sets/",
    "page in the middle": "/sets/?page=200",
    "last page": "/sets/?page=400",
    "only partial sets": "/sets/?state=partial",
    "one tag": "/sets/?tag=month-end",
    "pinned": "/sets/?pinned=yes",
    "text in the note": "/sets/?q=upgrade",
    "text that nothing has": "/sets/?q=zebra",
    "history": "/sets/?removed=yes",
    "one set": "/sets/{set}/",
}


def run(place: Place) -> Report:
    """Measure every page `runs` times, and the first one in turn with restic's own list."""
    logging.getLogger("httpx").setLevel(logging.WARNING)
    place.say("starting Postgres and Valkey")
    with servers.postgres(place.folder / "postgres") as database, servers.valkey(place.folder / "valkey") as valkey:
        _connect(database, database.create_database("portal"), valkey)
        place.say(f"writing {SETS:,} sets")
        newest = _fill(place.folder)
        repository = _repository(place)
        recorder = _recorder(place.folder / "var")
        with _signed_in(valkey, place.folder / "var") as client:
            report = _measured(place, client, newest, repository)
    started = recorder.read_text().count("\n") if recorder.exists() else 0
    report.bounds.append(Bound("restic started while pages were asked for", started, 0, "times"))
    return report


def _measured(place: Place, client: httpx.Client, newest: str, repository: _Snapshots) -> Report:
    addresses = {name: address.format(set=newest) for name, address in PAGES.items()}
    for address in addresses.values():
        client.get(address).raise_for_status()
    place.say("measuring in turn with restic")
    first, listed = in_turn(place.runs, lambda: _page(client, addresses["first page"]), repository.listed)
    against = f"restic's list of {repository.count:,} snapshots"
    measures = [Measure("first page", "ms", first, against, listed)]
    for name, address in list(addresses.items())[1:]:
        place.say(f"measuring: {name}")
        measures.append(Measure(name, "ms", spread([_page(client, address) for _ in range(place.runs)])))
    bounds = [Bound(f"worst {m.name}", max(m.ours.values), PROMISED_MS, "ms") for m in measures]
    return Report(measures, bounds, {"sets": SETS, "restic_snapshots": repository.count})


def _page(client: httpx.Client, address: str) -> float:
    return milliseconds(lambda: client.get(address).raise_for_status())


def _connect(database: servers.Postgres, name: str, valkey: servers.Valkey) -> None:
    """Make this process, and the portal's that it starts, use a fresh database."""
    os.environ.update(
        DJANGO_SETTINGS_MODULE="tests.support.portal_web_settings",
        TEST_PG_PORT=str(database.port),
        TEST_PG_NAME=name,
        TEST_PG_USER=database.user,
        TEST_PG_PASSWORD=database.password,
        TEST_VALKEY_URL=valkey.url,
    )
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def _fill(folder: Path) -> str:
    """Rows as years of use leave them; returns the id of the newest set."""
    from django.contrib.auth.models import User
    from django.db import connection

    from portal.vaults.models import BackupSet
    from tests.support import portal_web

    User.objects.create_user(portal_web.OPERATOR, portal_web.OPERATOR, portal_web.PASSWORD, is_staff=True)
    made = portal_web.rows(folder)
    repository, newest = made.good.repository, datetime.now(UTC)
    rows = [_row(number, newest - timedelta(hours=3 * (number + 1))) for number in range(SETS - 2)]
    for row in rows:
        row.repository, row.plan = repository, made.plan
    BackupSet.objects.bulk_create(rows, batch_size=1000)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    return made.good.pk


def _row(number: int, taken_at: datetime) -> BackupSet:
    from portal.vaults.models import BackupSet

    sources = ("documents", "vectors", "models", "postgres", "config")
    return BackupSet(
        id=f"{taken_at:%Y%m%dT%H%M%SZ}-{number:06x}",
        stack="rag",
        state="partial" if number % 40 == 7 else "complete",
        taken_at=taken_at,
        freeze_ms=50.0 + number % 30,
        seconds=41.2,
        bytes_total=173_000_000 + number,
        bytes_added=3_400_000,
        counts={"documents": 1398 + number, "chunks": 9874, "users": 4},
        sources={name: {"bytes": 10_000_000, "files": 12} for name in sources},
        detail={"versions": {"postgres": "18.0", "restic": "0.18.0"}, "seconds": dict.fromkeys(sources, 1.5)},
        snapshot_id=f"{number:064x}",
        tags=["month-end"] if number % 240 == 0 else [],
        note="before the upgrade" if number % 100 == 3 else "",
        pinned=number % 500 == 0,
        removed_at=taken_at + timedelta(days=30) if number % 10 == 9 else None,
    )


def _recorder(var: Path) -> Path:
    """Put a program in restic's place that only writes down that it was started; returns that file."""
    told, tool = var / "restic-was-started", var / "tools" / "bin" / "restic"
    tool.parent.mkdir(parents=True)
    tool.write_text(f'#!/bin/sh\necho "$0" >> "{told}"\nexit 1\n')
    tool.chmod(0o755)
    return told


@contextmanager
def _signed_in(valkey: servers.Valkey, var: Path) -> Iterator[httpx.Client]:
    from tests.support import portal_web

    with portal_web.portal_server(valkey, var) as url, httpx.Client(base_url=url, timeout=60) as client:
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', client.get("/sign-in/").text)
        assert token is not None
        form = {"username": portal_web.OPERATOR, "password": portal_web.PASSWORD, "csrfmiddlewaretoken": token[1]}
        assert client.post("/sign-in/", data=form).status_code == 302
        yield client


class _Snapshots:
    """A restic repository with at least `SETS` snapshots; asking it for its list is the alternative."""

    def __init__(self, folder: Path) -> None:
        password = folder / "password"
        password.write_text("a password of a benchmark\n")
        self._env = {
            "PATH": os.environ["PATH"], "RESTIC_REPOSITORY": str(folder / "repository"),
            "RESTIC_PASSWORD_FILE": str(password), "RESTIC_CACHE_DIR": str(folder / "cache"),
        }  # fmt: skip
        self.count = 0

    def fill(self, place: Place) -> None:
        """One snapshot, then each round writes every snapshot again under another host name: their number doubles."""
        self._restic("init")
        self._restic("backup", "--tag", "ragkeep", "--host", "round-0", "/etc/hostname")
        self.count, number = 1, 0
        while self.count < SETS:
            number += 1
            place.say(f"making snapshots for restic's list: {self.count:,}")
            self._restic("rewrite", "--new-host", f"round-{number}")
            self.count *= 2

    def listed(self) -> float:
        return milliseconds(lambda: self._restic("--no-lock", "--json", "snapshots"))

    def _restic(self, *words: str) -> process.Completed:
        return process.run((str(servers.RESTIC), *words), env=self._env)


def _repository(place: Place) -> _Snapshots:
    folder = place.folder / "restic"
    folder.mkdir()
    made = _Snapshots(folder)
    made.fill(place)
    return made
