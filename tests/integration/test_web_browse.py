"""Browsing a set and downloading from it, in the portal: real restic, real agent, real server."""

from __future__ import annotations

import asyncio
import io
import os
import re
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from click.testing import CliRunner
from django.test import Client

from backups.job import RepositoryPlace
from backups.manifest import FileEntry
from backups.repository import Repository as Restic
from backups.secret import write_secret
from backups.sources.documents import file_sha256
from backups.trees import names_written
from config.cli import sets_files
from portal.core.models import AuditEntry
from portal.operations.models import Operation, State
from portal.operations.worker import execute
from portal.vaults import trees
from portal.vaults.models import BackupSet, Repository, SetCopy
from tests.support import portal_web, servers
from tests.unit.test_set_trees import manifest

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

ODD = 'Büro/<b>"quoted"\n& more.txt'
LARGE = 48 << 20


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A repository with one set of three documents; returns its folder and the snapshot's id."""
    root = tmp_path_factory.mktemp("set")
    write_secret(root / "password", "a long password")
    repository = Restic(
        RepositoryPlace("", str(root / "repository"), root / "password"), servers.RESTIC, root / "cache"
    )
    repository.init()
    contents = {"report.txt": b"the report\n", ODD: b"odd\n", "large.bin": os.urandom(LARGE)}
    entries, names, live = [], [], root / "documents"
    for name, content in contents.items():
        (root / "new").write_bytes(content)
        sha256 = file_sha256(root / "new")
        path = f"{sha256[:2]}/{sha256}"
        (live / path).parent.mkdir(parents=True)
        (root / "new").rename(live / path)
        entries.append(FileEntry("documents", path, len(content), sha256))
        names.append({"document_id": name, "name": name.split("/")[-1], "path": name, "base": "Team", "sha256": sha256})
    (root / "set").mkdir()
    manifest(*entries, documents=str(live)).write(root / "set" / "set.json")
    (root / "set" / "documents.jsonl").write_text(names_written(names))
    made = repository.backup(cwd=root, paths=["set", str(live)], files=[], tags=["ragkeep"], host="rag-test")
    return root, made.snapshot_id


@pytest.fixture
def found(control_plane: None, stored: tuple[Path, str]) -> BackupSet:
    folder, snapshot = stored
    repository = Repository.objects.create(
        name="default", url=str(folder / "repository"), password_file=str(folder / "password")
    )
    return BackupSet.objects.create(
        id="20260131T000000Z-aaaaaa", stack="rag", repository=repository, state="complete", snapshot_id=snapshot,
        taken_at=datetime(2026, 1, 31, tzinfo=UTC),
    )  # fmt: skip


@pytest.fixture
def read(found: BackupSet) -> BackupSet:
    """The set, with its tree read by the agent."""
    operation = trees.tree_index(found=found)
    execute(operation.pk)
    operation.refresh_from_db()
    assert operation.state == State.SUCCEEDED, operation.error
    return found


def address(page: str, path: str = "/", **more: str) -> str:
    query = "".join(f"&{name}={quote(value, safe='')}" for name, value in more.items())
    return f"/sets/20260131T000000Z-aaaaaa/{page}/?path={quote(path, safe='')}{query}"


def content(answer: Any) -> bytes:  # noqa: ANN401 - the test client's answer
    """The body of a streamed answer, consumed as the server does."""

    async def gathered() -> bytes:
        return b"".join([block async for block in answer])

    return asyncio.run(gathered())


def test_a_set_is_read_once_and_then_browsed(operator: Client, found: BackupSet) -> None:
    assert "Read the list of files" in operator.get(address("browse")).content.decode()
    operator.post(f"/sets/{found.pk}/browse/read/")
    operator.post(f"/sets/{found.pk}/browse/read/")
    operation = Operation.objects.get(kind="set.index")
    assert "Reading what is in the set" in operator.get(address("browse")).content.decode()
    execute(operation.pk)
    text = operator.get(address("browse", "/documents/Team")).content.decode()
    for part in ("report.txt", "large.bin", "Büro", "48.0 MiB"):
        assert part in text
    assert operator.get(address("browse", "/documents/team")).status_code == 404
    assert operator.get(address("browse", "/documents/../documents")).status_code == 404


def test_odd_names_are_shown_as_text_and_found(operator: Client, read: BackupSet) -> None:
    text = operator.get(address("browse", "/", q="QUOTED")).content.decode()
    assert "&lt;b&gt;&quot;quoted&quot;\n&amp; more.txt" in text
    assert '<b>"' not in text
    (link,) = re.findall(r'href="(/sets/[^"]+/fetch/[^"]+)" download aria-label', text)
    answer = operator.get(link.replace("&amp;", "&"))
    assert content(answer) == b"odd\n"
    assert "\n" not in answer.headers["Content-Disposition"]
    assert "No name below here" in operator.get(address("browse", "/", q="zebra")).content.decode()


def test_a_download_is_a_file_to_keep_and_is_written_down(operator: Client, read: BackupSet) -> None:
    answer = operator.get(address("fetch", "/documents/Team/report.txt"))
    assert content(answer) == b"the report\n"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="report.txt"'
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Length"] == "11"
    told = AuditEntry.objects.get(action="set.fetched")
    assert (told.actor_name, told.target) == (portal_web.OPERATOR, f"set:{read.pk}")
    assert told.data["path"] == "/documents/Team/report.txt"


def test_a_repository_that_does_not_answer_is_a_sentence_or_its_copy_answers(
    operator: Client, read: BackupSet, tmp_path: Path, stored: tuple[Path, str]
) -> None:
    Repository.objects.update(url=str(tmp_path / "unmounted"))
    answer = operator.get(address("fetch", "/documents/Team/report.txt"))
    assert answer.status_code == 502
    assert "is not there" in answer.content.decode()
    folder, _ = stored
    copy = Repository.objects.create(
        name="copy", url=str(folder / "repository"), password_file=str(folder / "password")
    )
    SetCopy.objects.create(set=read, repository=copy, snapshot_id=read.snapshot_id)
    BackupSet.objects.update(snapshot_id="0" * 64)
    assert content(operator.get(address("fetch", "/documents/Team/report.txt"))) == b"the report\n", "from its copy"


def test_trees_go_with_their_sets_and_stay_within_bounds(
    read: BackupSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = trees.tree_file(read.pk)
    stranger = kept.with_name("20200101T000000Z-000000.sqlite3")
    stranger.write_bytes(kept.read_bytes())
    trees.trees_sweep()
    assert (kept.exists(), stranger.exists()) == (True, False)
    other = BackupSet.objects.create(
        id=stranger.stem, stack="rag", repository=read.repository, state="complete", taken_at=read.taken_at
    )
    stranger.write_bytes(kept.read_bytes())
    os.utime(stranger, (1, 1))
    monkeypatch.setattr(trees, "KEPT_BYTES", kept.stat().st_size + 1)
    trees.trees_sweep()
    assert (kept.exists(), stranger.exists()) == (True, False), other.pk
    BackupSet.objects.filter(pk=read.pk).update(removed_at=read.taken_at)
    trees.trees_sweep()
    assert not kept.exists()


def test_the_command_line_brings_files_and_folders(
    read: BackupSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sets_files, "connect", lambda: None)
    run = CliRunner().invoke
    shown = run(sets_files.browse, [read.pk, "/documents", "--search", "quoted"])
    assert "?& more.txt" in shown.output, "no control character reaches the terminal"
    file = tmp_path / "here.txt"
    assert run(sets_files.fetch_command, [read.pk, "documents/Team/report.txt", "--to", str(file)]).exit_code == 0
    assert file.read_bytes() == b"the report\n"
    again = run(sets_files.fetch_command, [read.pk, "documents/Team/report.txt", "--to", str(file)])
    assert (again.exit_code, "exists" in again.output) == (1, True)
    folder = tmp_path / "out"
    made = run(sets_files.fetch_command, [read.pk, "/documents/Team", "--to", str(folder), "--json"])
    assert made.exit_code == 0, made.output
    assert (folder / "large.bin").stat().st_size == LARGE
    assert (folder / "Büro" / "_b__quoted__& more.txt").exists()
    assert not list(folder.rglob(".fetch-*"))
    missing = run(sets_files.fetch_command, [read.pk, "/documents/x", "--to", str(tmp_path / "x")])
    assert (missing.exit_code, "there is no" in missing.output) == (1, True)


@pytest.fixture
def served(read: BackupSet, valkey_server: servers.Valkey, tmp_path: Path) -> Iterator[httpx.Client]:
    """Signed in at the real server."""
    portal_web.clients()
    with portal_web.portal_server(valkey_server, tmp_path) as url, httpx.Client(base_url=url, timeout=60) as client:
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', client.get("/sign-in/").text)
        assert token is not None
        fields = {"csrfmiddlewaretoken": token[1], "username": portal_web.OPERATOR, "password": portal_web.PASSWORD}
        assert client.post("/sign-in/", data=fields).status_code == 302
        yield client


def dumping(snapshot: str) -> int:
    """How many restic processes read this snapshot now."""
    count = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        count += b"dump" in words and snapshot.encode() in words and not words[0].endswith(b"setpriv")
    return count


def test_downloads_stream_beside_everything_else_and_end_with_their_reader(
    served: httpx.Client, read: BackupSet
) -> None:
    with zipfile.ZipFile(io.BytesIO(served.get(address("fetch", "/documents")).content)) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 3
    large = address("fetch", "/documents/Team/large.bin")
    stalled = [served.send(served.build_request("GET", large), stream=True) for _ in range(4)]
    assert [answer.status_code for answer in stalled] == [200] * 4
    assert dumping(read.snapshot_id) == 4
    assert served.get(large).status_code == 503
    began = time.monotonic()
    assert served.get("/sets/").status_code == 200
    assert time.monotonic() - began < 5, "pages are answered meanwhile"
    for answer in stalled[1:]:
        answer.close()
    servers.wait_until(lambda: dumping(read.snapshot_id) == 1, what="the end of what nobody reads any more")
    assert sum(map(len, stalled[0].iter_bytes())) == LARGE
    stalled[0].close()
    assert served.get(large).status_code == 200
