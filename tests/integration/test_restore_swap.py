"""The swap on real folders and a real Postgres, interrupted at every single change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from backups.restore import exchange, swap
from backups.restore.database import Server
from backups.restore.errors import SwapConflict
from backups.restore.folders import remove_tree
from backups.restore.swap import Staged, Target
from backups.secret import Secret
from tests.support import servers

pytestmark = pytest.mark.integration

RESTORED = ("documents", "vectors", "models")
SET = "20261122T120000Z-abc123"
STAGED = Staged(SET, RESTORED)


class CrashError(Exception):
    """Stands for a kill -9: nothing after it runs."""


class CrashAt:
    """A checkpoint that raises at the n-th call and counts the calls."""

    def __init__(self, number: int | None) -> None:
        self.number = number
        self.calls = 0

    def __call__(self, _point: str) -> None:
        self.calls += 1
        if self.calls == self.number:
            raise CrashError


def never(_point: str) -> None:
    """A checkpoint that lets everything pass."""


def server_of(postgres: servers.Postgres) -> Server:
    return Server(postgres.host, postgres.port, postgres.user, Secret(postgres.password))


def mark(server: Server, database: str, value: str) -> None:
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE marker (value text)")
        connection.execute("INSERT INTO marker VALUES (%s)", (value,))


def read_mark(server: Server, database: str) -> str | None:
    if database not in server.oids():
        return None
    with server.connect(database) as connection:
        row = connection.execute("SELECT value FROM marker").fetchone()
    return None if row is None else str(row[0])


def fill(folder: Path, value: str) -> None:
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "marker").write_text(value)


def state(target: Target) -> dict[str, str | None]:
    """What is live now, by volume, and in the database."""
    found: dict[str, str | None] = {}
    for name in RESTORED:
        path = target.folders(name).live / "deep" / "marker"
        found[name] = path.read_text() if path.exists() else None
    live = target.folders("index").live
    found["index"] = None if not live.exists() else "empty" if not any(live.iterdir()) else "old"
    if target.server is not None:
        found["database"] = read_mark(target.server, target.database)
    return found


def is_all(target: Target, wanted: dict[str, str | None]) -> bool:
    found = state(target)
    return found == {name: wanted[name] for name in found}


NEW: dict[str, str | None] = {**dict.fromkeys(RESTORED, "new"), "index": "empty", "database": "new"}
OLD: dict[str, str | None] = dict.fromkeys([*RESTORED, "index", "database"], "old")
NOTHING: dict[str, str | None] = dict.fromkeys([*RESTORED, "index", "database"])


def furnish(target: Target, *, blank: bool) -> None:
    """Staged data and, unless the target is blank, live data, in every volume and in the database."""
    for name in RESTORED:
        fill(target.folders(name).staging, "new")
    for name in () if blank else target.volumes:
        fill(target.folders(name).live, "old")
    if target.server is not None:
        for database, value in ((target.names.staging, "new"), *(() if blank else ((target.database, "old"),))):
            target.server.create(database)
            mark(target.server, database, value)


@pytest.fixture
def make_target(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_server: servers.Postgres
) -> Iterator[Callable[[bool], Target]]:
    # The way folders change places concerns folders alone: without a database the second way is tried in no time.
    alone = "way" in request.fixturenames and request.getfixturevalue("way") == "two renames"
    server = None if alone else server_of(postgres_server)
    targets: list[Target] = []

    def make(blank: bool) -> Target:
        operation, root = str(uuid4()), tmp_path / str(len(targets))
        volumes = {name: root / name for name in (*RESTORED, "index")}
        target = Target(volumes=volumes, server=server, database=f"rag_{operation[:6]}", operation=operation)
        targets.append(target)
        furnish(target, blank=blank)
        return target

    yield make
    for target in targets if server is not None else ():
        for name in (target.database, target.names.staging, target.names.kept):
            server_of(postgres_server).drop(name)


@pytest.fixture(params=["renameat2", "two renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of letting folders change places."""
    if request.param == "two renames":
        monkeypatch.setattr(exchange, "exchange", lambda _one, _other: False)
    return str(request.param)


def test_exchange_is_available_here_and_changes_places(tmp_path: Path) -> None:
    fill(tmp_path / "a", "a")
    fill(tmp_path / "b", "b")
    assert exchange.exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "deep" / "marker").read_text() == "b"
    with pytest.raises(FileNotFoundError):
        exchange.exchange(tmp_path / "a", tmp_path / "missing")


def test_swap_puts_everything_new_in_place_and_keeps_the_old(way: str, make_target: Callable[[bool], Target]) -> None:
    target = make_target(False)
    swap.swap(target, STAGED, never)
    assert is_all(target, NEW)
    assert (target.folders("documents").kept / "deep" / "marker").read_text() == "old"
    assert target.server is None or target.names.kept in target.server.oids()


def test_swapping_twice_is_swapping_once(way: str, make_target: Callable[[bool], Target]) -> None:
    target = make_target(False)
    swap.swap(target, STAGED, never)
    swap.swap(target, STAGED, never)
    assert is_all(target, NEW)


@pytest.mark.parametrize("blank", [False, True], ids=["over data", "blank"])
def test_unswap_takes_everything_back_and_a_second_swap_brings_it_again(
    way: str, blank: bool, make_target: Callable[[bool], Target]
) -> None:
    target = make_target(blank)
    swap.swap(target, STAGED, never)
    assert swap.unswap(target, never)
    assert is_all(target, NOTHING if blank else OLD)
    assert swap.unswap(target, never)
    swap.swap(target, STAGED, never)
    assert is_all(target, NEW)


def test_unswap_without_a_swap_changes_nothing(make_target: Callable[[bool], Target]) -> None:
    target = make_target(False)
    assert not swap.unswap(target, never)
    assert is_all(target, OLD)


def crashes(target: Target, act: Callable[[Target, Callable[[str], None]], object], number: int) -> bool:
    """Run `act` and crash at its `number`-th checkpoint; False when it ended before."""
    try:
        act(target, CrashAt(number))
    except CrashError:
        return True
    return False


def do_swap(target: Target, checkpoint: Callable[[str], None]) -> None:
    swap.swap(target, STAGED, checkpoint)


@pytest.mark.parametrize("blank", [False, True], ids=["over data", "blank"])
@pytest.mark.parametrize("undo", [False, True], ids=["finish", "undo"])
def test_a_swap_crashed_at_any_change_can_be_finished_and_undone(
    way: str, undo: bool, blank: bool, make_target: Callable[[bool], Target]
) -> None:
    target = make_target(blank)
    number = 1
    while crashes(target, do_swap, number):
        if undo:
            swap.unswap(target, never)
            assert is_all(target, NOTHING if blank else OLD), f"undone after a crash at change {number}"
        else:
            swap.swap(target, STAGED, never)
            assert is_all(target, NEW), f"finished after a crash at change {number}"
            swap.unswap(target, never)
        number += 1
    assert number > 7, "the swap must have had many changes to crash at"


SOME = (
    Staged(SET, ("models",), emptied=(), database=False),
    Staged(SET, ("documents",), emptied=("index",)),
)


@pytest.mark.parametrize("staged", SOME, ids=["models", "documents and database"])
@pytest.mark.parametrize("undo", [False, True], ids=["finish", "undo"])
def test_a_swap_of_some_sources_crashed_at_any_change_leaves_the_others_alone(
    undo: bool, staged: Staged, make_target: Callable[[bool], Target]
) -> None:
    target = make_target(False)
    changed = {*staged.volumes, *staged.emptied, *(["database"] if staged.database else [])}
    new = {name: NEW[name] if name in changed else OLD[name] for name in OLD}
    number = 1
    while crashes(target, lambda aim, checkpoint: swap.swap(aim, staged, checkpoint), number):
        if undo:
            swap.unswap(target, never)
            assert is_all(target, OLD), f"undone after a crash at change {number}"
        else:
            swap.swap(target, None if target.journal() else staged, never)
            assert is_all(target, new), f"finished after a crash at change {number}"
            swap.unswap(target, never)
        number += 1
    assert number > 2, "the swap must have had changes to crash at"


@pytest.mark.parametrize("then", ["undo again", "swap again"])
def test_an_undo_crashed_at_any_change_can_go_either_way(
    way: str, then: str, make_target: Callable[[bool], Target]
) -> None:
    target = make_target(False)
    swap.swap(target, STAGED, never)
    number = 1
    while crashes(target, swap.unswap, number):
        if then == "undo again":
            swap.unswap(target, never)
            assert is_all(target, OLD), f"undone after a crash at change {number}"
        swap.swap(target, STAGED, never)
        assert is_all(target, NEW), f"swapped after a crash at change {number}"
        number += 1
    assert number > 7, "the undo must have had many changes to crash at"


def test_a_session_in_the_live_database_does_not_stop_the_swap(make_target: Callable[[bool], Target]) -> None:
    target = make_target(False)
    assert target.server is not None
    with target.server.connect(target.database) as session:
        session.execute("SELECT 1")
        swap.swap(target, STAGED, never)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert is_all(target, NEW)


def test_nothing_moves_when_one_staged_folder_is_missing(make_target: Callable[[bool], Target]) -> None:
    target = make_target(False)
    target.folders("models").staging.rename(target.volumes["models"] / "elsewhere")
    with pytest.raises(SwapConflict, match="staging"):
        swap.swap(target, STAGED, never)
    assert is_all(target, OLD)


def test_an_empty_live_folder_made_by_a_service_is_replaced_and_a_full_one_is_not(
    monkeypatch: pytest.MonkeyPatch, make_target: Callable[[bool], Target]
) -> None:
    monkeypatch.setattr(exchange, "exchange", lambda _one, _other: False)
    target = make_target(False)
    number = 1
    while crashes(target, do_swap, number) and target.folders("documents").live.exists():
        swap.unswap(target, never)
        number += 1
    assert not target.folders("documents").live.exists()
    fill(target.folders("documents").live, "stranger")
    with pytest.raises(SwapConflict, match="not empty"):
        swap.swap(target, STAGED, never)
    stranger = target.folders("documents").live
    (stranger / "deep" / "marker").unlink()
    (stranger / "deep").rmdir()
    swap.swap(target, STAGED, never)
    assert is_all(target, NEW)


def test_discard_after_a_swap_keeps_the_new_data_only(make_target: Callable[[bool], Target]) -> None:
    target = make_target(False)
    swap.swap(target, STAGED, never)
    swap.discard(target, never)
    assert is_all(target, NEW)
    for volume in target.volumes.values():
        assert [entry.name for entry in volume.iterdir()] == ["live"]
    assert target.names.kept not in target.server.oids()  # type: ignore[union-attr]


def test_discard_after_an_undo_keeps_the_old_data_only(make_target: Callable[[bool], Target]) -> None:
    target = make_target(False)
    swap.swap(target, STAGED, never)
    swap.unswap(target, never)
    swap.discard(target, never)
    assert is_all(target, OLD)
    assert target.names.staging not in target.server.oids()  # type: ignore[union-attr]


def test_discard_after_an_undo_leaves_what_a_service_made_where_nothing_was(
    make_target: Callable[[bool], Target],
) -> None:
    target = make_target(False)
    remove_tree(target.folders("vectors").live)
    swap.swap(target, STAGED, never)
    swap.unswap(target, never)
    fill(target.folders("vectors").live, "made by the started service")
    swap.discard(target, never)
    assert state(target)["vectors"] == "made by the started service"
    assert [entry.name for entry in target.volumes["vectors"].iterdir()] == ["live"]


def test_discard_refuses_a_swap_that_stands_half_way(make_target: Callable[[bool], Target]) -> None:
    target = make_target(False)
    assert crashes(target, do_swap, 6)
    with pytest.raises(SwapConflict, match="half-way"):
        swap.discard(target, never)
    swap.unswap(target, never)
    assert is_all(target, OLD)


def test_a_half_done_discard_can_be_ended_but_not_undone(make_target: Callable[[bool], Target]) -> None:
    target = make_target(False)
    swap.swap(target, STAGED, never)
    (target.folders("documents").kept / "deep").chmod(0o500)
    assert crashes(target, swap.discard, 3)
    with pytest.raises(SwapConflict, match="no longer there"):
        swap.unswap(target, never)
    assert is_all(target, NEW)
    swap.discard(target, never)
    assert is_all(target, NEW)


def test_a_journal_that_cannot_be_read_stops_the_swap(make_target: Callable[[bool], Target]) -> None:
    target = make_target(False)
    (target.volumes["documents"] / f"swap-{target.operation}.json").write_text("{}")
    with pytest.raises(SwapConflict, match="journal"):
        swap.swap(target, STAGED, never)
    assert is_all(target, OLD)


def test_names_fit_into_what_postgres_allows() -> None:
    names = Target({}, None, "rag", "12345678-aaaa").names
    assert (names.staging, names.kept) == ("rag_staging_12345678", "rag_kept_12345678")
    assert sql.Identifier(names.kept).as_string() == '"rag_kept_12345678"'


def test_what_was_restored_is_open_to_its_own_account_alone(postgres_server: servers.Postgres) -> None:
    server, name = server_of(postgres_server), f"rag_staging_{uuid4().hex[:8]}"
    server.create(name)
    try:
        with server.connect() as connection:
            allowed = connection.execute(
                "SELECT has_database_privilege('public', %s, 'CONNECT'), has_database_privilege('public', %s, 'TEMP')",
                (name, name),
            ).fetchone()
        assert allowed == (False, False)
        assert name in server.oids()
    finally:
        server.drop(name)
