"""What must happen when a backup meets a fault; the number in a test's name is that of the list of faults."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from backups import backup, process, reach, restic
from backups.errors import RepositoryUnreachable
from backups.job import Job
from backups.journal import Context, Fence, Journal
from tests.support import servers, sshd
from tests.support.sample_stack import (
    COLLECTIONS,
    DIMENSION,
    SampleStack,
    moved_away,
    program,
    refused,
    run_agent,
    sample_stack,
    started,
    upserting,
    writing,
)
from tests.support.small_disk import small_disk
from tests.support.wire import Wire, wire

pytestmark = pytest.mark.integration

MEGABYTE = 1 << 20
RANDOM = 32 * MEGABYTE


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, postgres_server: servers.Postgres) -> Iterator[SampleStack]:
    with sample_stack(tmp_path_factory.mktemp("faults"), postgres_server) as made:
        yield made


def packs(repository: Path) -> list[Path]:
    """The packs that restic has finished: named by their hash, and nothing more."""
    return [path for path in (repository / "data").rglob("*") if path.is_file() and len(path.name) == 64]


def any_large(found: list[Path]) -> bool:
    """Whether one of these packs is worth not being sent again."""
    return any(pack.stat().st_size > RANDOM // 4 for pack in found)


def snapshot_ids(stack: SampleStack) -> list[str]:
    return [snapshot.id for snapshot in stack.opened().snapshots()]


def restic_here(stack: SampleStack, *words: str) -> process.Completed:
    """restic by hand."""
    cache = stack.root / "operations/cache/restic"
    environment = restic.environment(str(stack.repository), stack.root / "secrets/repository", cache)
    return process.run((str(servers.RESTIC), *words), env=environment)


def pg_bin(folder: Path, dump: str) -> Path:
    """The programs of Postgres with another pg_dump; `dump` finds the real one as $DUMP."""
    program(
        folder / "pg_dump",
        f'DUMP={servers.PG_BIN}/pg_dump\ncase "$*" in --version) exec $DUMP --version;; esac\n{dump}',
    )
    for name in ("pg_dumpall", "pg_restore"):
        (folder / name).symlink_to(servers.PG_BIN / name)
    return folder


@contextmanager
def large_document(stack: SampleStack) -> Iterator[None]:
    """A document written in hex: restic stores some 1.2 times what of it is random."""
    path, size = stack.add_document(os.urandom(RANDOM).hex(), chunks=1), 2 * RANDOM
    yield
    (stack.documents / path).unlink()
    with stack.connect() as connection:
        connection.execute("DELETE FROM chunks WHERE document IN (SELECT id FROM documents WHERE bytes = %s)", (size,))
        connection.execute("DELETE FROM documents WHERE bytes = %s", (size,))


@contextmanager
def far_repository(stack: SampleStack, folder: Path) -> Iterator[tuple[Wire, dict[str, Any], Path]]:
    """A repository behind an SFTP server: the line there, its place as a job has it, and its folder."""
    with sshd.sshd(folder / "sshd") as server, wire(server.port) as line:
        beyond = replace(server, port=line.port)
        hosts, password = beyond.known_hosts(folder / "hosts"), stack.root / "secrets/repository"
        options = {"key_file": str(server.user_key), "known_hosts_file": str(hosts)}
        place = {"id": None, "url": f"{beyond.url}/far", "password_file": str(password), "options": options}
        made = run_agent(stack.job("init", repository=place))
        yield line, {**place, "id": made.last["id"]}, server.data / "far"


def taken(stack: SampleStack, place: dict[str, Any], told: io.StringIO, upload_kib: int = 0) -> dict[str, Any]:
    """Have a set stored there by this process."""
    job = Job.from_json(json.dumps(stack.job(repository=place, limits={"upload_kib": upload_kib})))
    return backup.run(job, Context(Journal(told), Fence(job.fence, job.attempt)))


def test_01_a_killed_restic_leaves_no_snapshot_and_the_next_run_reuses_its_packs(
    stack: SampleStack, tmp_path: Path
) -> None:
    pid_file, before, first = tmp_path / "pid", snapshot_ids(stack), len(packs(stack.repository))
    slow = program(
        tmp_path / "restic",
        f'case " $* " in *" backup "*) echo $$ > {pid_file}; exec {servers.RESTIC} --limit-upload 16384 "$@";; esac\n'
        f'exec {servers.RESTIC} "$@"',
    )
    with large_document(stack):
        with started(stack.job_with(tools={"restic": slow})) as agent:
            servers.wait_until(lambda: len(packs(stack.repository)) > first, what="a pack", seconds=120)
            os.kill(int(pid_file.read_text()), signal.SIGKILL)
            last = list(agent.lines())[-1]
            assert agent.wait(30) == 1
        assert '"restic_failed"' in last
        assert snapshot_ids(stack) == before
        assert stack.removal_gate_is_free()
        ended = run_agent(stack.job_with())
    assert (ended.status, ended.last["state"]) == (0, "complete"), ended
    assert ended.last["sources"]["documents"]["bytes"] >= 2 * RANDOM
    assert ended.last["bytes_added"] < RANDOM, "what had been sent was sent again"
    restic_here(stack, "check")


@pytest.mark.skipif(sshd.program() is None, reason="no sshd: apt-get install openssh-server")
@pytest.mark.parametrize("away", [0, 8], ids=["back-at-once", "away-for-too-long"])
def test_11_what_was_sent_before_a_cut_is_not_sent_again(
    stack: SampleStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: int
) -> None:
    monkeypatch.setattr(reach, "PATIENCE_SECONDS", 1.0)
    with far_repository(stack, tmp_path) as (line, place, data), large_document(stack):
        # In threads of their own: an agent lowers itself for good.
        with ThreadPoolExecutor(1) as taking:
            told = io.StringIO()
            first = taking.submit(taken, stack, place, told, 16384)
            servers.wait_until(lambda: any_large(packs(data)), what="a pack", seconds=120)
            line.cut_after(0, seconds=away)
            if not away:
                made = first.result(120)
                assert "storing goes on" in told.getvalue()
            else:
                with pytest.raises(RepositoryUnreachable, match="does not answer"):
                    first.result(60)
                servers.wait_until(line.answers, what="the line")
                made = taking.submit(taken, stack, place, told).result(120)
        assert line.cuts == 1
    assert made["state"] == "complete"
    assert made["sources"]["documents"]["bytes"] >= 2 * RANDOM
    assert made["bytes_added"] < RANDOM, "what had been sent was sent again"


def version(database: sqlite3.Connection) -> int:
    """A number that changes whenever another connection commits to the database."""
    return int(database.execute("PRAGMA data_version").fetchone()[0])


def test_02_nothing_commits_inside_a_freeze_and_a_kill_opens_everything(stack: SampleStack) -> None:
    reached = stack.arm("freeze")
    before = snapshot_ids(stack)
    with upserting(stack) as confirmed:
        database = sqlite3.connect(stack.vectors / "chroma.sqlite3")
        with closing(database), started(stack.job()) as agent:
            servers.wait_until(reached.exists, what="the freeze", seconds=60)
            written, answered = version(database), len(confirmed)
            for _ in range(20):
                threading.Event().wait(0.05)
                assert version(database) == written, "a write was committed inside the freeze"
            # The answer to a commit from before the freeze may still have been on its way.
            assert len(confirmed) <= answered + 1
            assert not stack.gate_is_open()
            agent.kill()
            agent.wait(5)
            servers.wait_until(stack.gate_is_open, what="the write gate", seconds=2)
            servers.wait_until(lambda: len(confirmed) > answered + 1, what="the waiting writer", seconds=5)
            servers.wait_until(lambda: version(database) != written, what="a commit after the freeze", seconds=5)
    assert snapshot_ids(stack) == before


@pytest.mark.parametrize(
    ("dies", "code"),
    [
        ('"$DUMP" "$@"; exit 1', "source_unreadable"),
        (
            '"$DUMP" "$@"; for w; do case "$w" in --file=*) truncate -s -900 "${w#--file=}";; esac; done',
            "staging_invalid",
        ),
    ],
    ids=["told", "silent"],
)
def test_05_a_dump_that_dies_half_way_fails_the_set(stack: SampleStack, tmp_path: Path, dies: str, code: str) -> None:
    before = snapshot_ids(stack)
    ended = run_agent(stack.job_with(tools={"pg_bin": pg_bin(tmp_path, dies)}))
    assert refused(ended) == code
    assert snapshot_ids(stack) == before


@pytest.mark.parametrize(
    "dump",
    [
        'for w; do case "$w" in --file=*) : > "${w#--file=}";; esac; done',
        'exec "$DUMP" --exclude-table-data=chunks "$@"',
    ],
    ids=["empty", "smaller"],
)
def test_06_a_dump_of_no_bytes_or_without_rows_fails_the_set(stack: SampleStack, tmp_path: Path, dump: str) -> None:
    before = snapshot_ids(stack)
    ended = run_agent(stack.job_with(tools={"pg_bin": pg_bin(tmp_path, dump)}))
    assert refused(ended) == "staging_invalid"
    assert snapshot_ids(stack) == before
    if "chunks" in dump:
        assert "public.chunks" in ended.last["message"]


def test_07_what_restic_cannot_read_makes_the_set_partial_and_is_named(stack: SampleStack, tmp_path: Path) -> None:
    wiki = tmp_path / "wiki"
    (wiki / "pages").mkdir(parents=True)
    (wiki / "pages/open.md").write_text("everybody may read this")
    closed = wiki / "pages/closed.md"
    closed.write_text("nobody may read this")
    closed.chmod(0)
    # Root reads everything: without the right to pass over permissions it does not.
    drop = "setpriv --bounding-set=-dac_override,-dac_read_search " if os.geteuid() == 0 else ""
    tool = program(tmp_path / "restic", f'exec {drop}{servers.RESTIC} "$@"')
    folder = {"name": "wiki", "kind": "folder", "path": str(wiki)}
    ended = run_agent(stack.job_with(folder, tools={"restic": tool}))
    assert (ended.status, ended.last["state"]) == (3, "partial"), ended
    assert ended.last["missing"] == [str(closed)]
    assert ended.last["sources"]["wiki"]["errors"] == 1
    (snapshot,) = stack.opened().snapshots(tags=[f"set:{ended.last['set']}"])
    assert snapshot.partial, "a partial set must not look like the last good one"
    closed.chmod(0o600)
    again = run_agent(stack.job_with(folder, tools={"restic": tool}))
    assert (again.status, again.last["sources"]["wiki"]["errors"]) == (0, 0), again
    assert again.last["sources"]["wiki"]["files"] == 2


@pytest.mark.parametrize("folder", ["volumes/documents/live", "volumes/models/live", "volumes/vectors/live", "conf"])
def test_08_a_missing_source_is_refused(stack: SampleStack, folder: str) -> None:
    job = stack.job()
    if folder.startswith("volumes/vectors"):  # Chroma runs in it: another place is named instead
        job["stack"]["volumes"]["vectors"] = str(stack.root / "nothing")
        assert refused(run_agent(job)) == "source_missing"
        return
    with moved_away(stack.root / folder):
        ended = run_agent(job)
        assert refused(ended) == "source_missing"
        assert "freeze" not in ended.steps()


@pytest.mark.parametrize("folder", ["volumes/documents/live", "volumes/models/live"])
def test_08_an_empty_source_is_refused(stack: SampleStack, folder: str) -> None:
    with moved_away(stack.root / folder):
        (stack.root / folder).mkdir(parents=True)
        if "models" in folder:
            (stack.root / folder / "manifests").mkdir()
        assert refused(run_agent(stack.job())) == "source_empty"


def test_08_a_further_folder_must_be_there_mounted_and_not_empty(stack: SampleStack, tmp_path: Path) -> None:
    place = tmp_path / "share"
    source: dict[str, Any] = {"name": "share", "kind": "folder", "path": str(place)}
    assert refused(run_agent(stack.job_with(source))) == "source_missing"
    place.mkdir()
    assert refused(run_agent(stack.job_with(source))) == "source_empty"
    ended = run_agent(stack.job_with({**source, "mountpoint": True, "may_be_empty": True}))
    assert refused(ended) == "source_not_mounted"
    assert ended.steps("failed") == ["preflight"]
    with small_disk(place, 4) as disk:
        disk.run("sh", "-c", f"echo mounted > {place}/file")
        ended = run_agent(stack.job_with({**source, "mountpoint": True}), disk.prefix)
        assert (ended.status, ended.last["sources"]["share"]["files"]) == (0, 1), ended


def test_09_a_full_repository_is_told_and_what_it_holds_stays_readable(stack: SampleStack, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 24) as disk:
        place = {
            "id": None,
            "url": str(disk.path / "repository"),
            "password_file": str(stack.root / "secrets/repository"),
        }
        assert run_agent(stack.job("init", repository=place), disk.prefix).status == 0
        first = run_agent(stack.job(repository=place), disk.prefix)
        assert first.status == 0, first
        large = tmp_path / "large"
        large.mkdir()
        (large / "file").write_bytes(os.urandom(40 * MEGABYTE))
        source = {"name": "large", "kind": "folder", "path": str(large)}
        ended = run_agent(stack.job_with(source, repository=place), disk.prefix)
        assert refused(ended) == "repository_full"
        assert "Free space" in ended.last["remedy"]
        listed = run_agent(stack.job("snapshots", repository=place), disk.prefix)
        assert [found["set"] for found in listed.last["snapshots"]] == [first.last["set"]]


def test_10_a_staging_without_room_fails_before_the_freeze(stack: SampleStack, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8) as disk:
        work = disk.path / "operations/one"
        disk.run("mkdir", "-p", str(work))
        job = stack.job(work=str(work))
        ended = run_agent(job, disk.prefix)
    assert refused(ended) == "space_short"
    assert ended.steps("failed") == ["preflight"]
    assert "freeze" not in ended.steps("started")


def test_10_a_disk_that_fills_up_on_the_way_is_told_apart(stack: SampleStack, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 90) as disk:
        work = disk.path / "operations/one"
        disk.run("mkdir", "-p", str(work))
        fills = f'head -c 200000000 /dev/zero > {disk.path}/others-data; exec $DUMP "$@"'
        job = stack.job_with(work=str(work), tools={"pg_bin": pg_bin(tmp_path / "bin", fills)})
        ended = run_agent(job, disk.prefix)
    assert refused(ended) == "space_short", ended
    assert "ran full" in ended.last["message"]


def make_and_drop_collections(stack: SampleStack, over: threading.Event) -> None:
    """Collections come, get vectors, and go, past every gate."""
    with httpx.Client(base_url=stack.chroma_url, timeout=60) as client:
        while not over.is_set():
            name = f"kb_other_{uuid4().hex[:8]}"
            made = client.post(COLLECTIONS, json={"name": name}).raise_for_status().json()["id"]
            ids = [str(uuid4()) for _ in range(50)]
            body = {"ids": ids, "embeddings": [[1.0] * DIMENSION] * len(ids)}
            client.post(f"{COLLECTIONS}/{made}/upsert", json=body).raise_for_status()
            client.delete(f"{COLLECTIONS}/{name}").raise_for_status()


def pull_and_delete_models(stack: SampleStack, over: threading.Event) -> None:
    """Models are pulled as Ollama does, blobs first, and deleted again, manifest first."""
    store, folder = stack.models, stack.models / "manifests/registry.ollama.ai/library/passing"
    number = 0
    while not over.wait(0.01):
        number += 1
        content = os.urandom(20_000)
        digest = hashlib.sha256(content).hexdigest()
        blob = store / "blobs" / f"sha256-{digest}"
        blob.with_name(f"{blob.name}-partial").write_bytes(content)
        blob.with_name(f"{blob.name}-partial").rename(blob)
        folder.mkdir(parents=True, exist_ok=True)
        manifest = folder / str(number)
        manifest.with_name(f"{number}-partial").write_text(
            f'{{"config": {{"digest": "sha256:{digest}", "size": {len(content)}}}, "layers": []}}'
        )
        manifest.with_name(f"{number}-partial").rename(manifest)
        over.wait(0.05)
        manifest.unlink()
        blob.unlink()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    "mutate", [make_and_drop_collections, pull_and_delete_models], ids=["26_collections", "27_models"]
)
def test_changes_in_the_middle_leave_every_set_complete_and_consistent(stack: SampleStack, mutate: Any) -> None:  # noqa: ANN401
    over, faults = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            mutate(stack, over)
        except BaseException as error:
            faults.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        with writing(stack) as failed:
            ended = [run_agent(stack.job()) for _ in range(2)]
    finally:
        over.set()
        worker.join(60)
    assert not faults
    assert not failed
    for found in ended:
        assert (found.status, found.last["state"], found.last["missing"]) == (0, "complete", []), found
        manifest = stack.manifest(found.last["snapshot_id"])
        (collection,) = manifest.collections
        assert collection.chunks == manifest.counts["chunks"]
        stored = {entry.path for entry in manifest.files_of("models")}
        assert all(f"blobs/{blob.file_name}" in stored for model in manifest.models for blob in model.blobs)
        assert "smollm2:135m" in [model.name for model in manifest.models]
