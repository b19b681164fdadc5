"""The rules of a restore that need no server: versions, space, agreement, previews, commands."""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.errors import SpaceShort
from backups.manifest import Collection, FileEntry, Manifest, Question
from backups.restore import canary, postgres, preview, space, versions
from backups.restore.canary import Api
from backups.restore.database import DatabaseNames, Server
from backups.restore.errors import CanaryFailed, CanaryUnreached, SetTooNew
from backups.restore.exchange import link_or_copy
from backups.secret import Secret

MANIFEST = Manifest(
    set_id="20260101T000000Z-abcdef", operation="o", state="complete", stack="rag", environment="production",
    host="rag-production", taken_at=datetime(2026, 1, 1, tzinfo=UTC), freeze_ms=50.0,
    versions={"postgres_major": 18, "chroma": "1.5.9"}, counts={"users": 2, "documents": 3, "chunks": 9},
    collections=(Collection("kb", 2, "tiny", "", "", 9, 9),), models=(), sources={}, roots={},
    files=(
        FileEntry("documents", "aa/one", 1000, "x"), FileEntry("vectors", "vectors/chroma.sqlite3", 5000, "x"),
        FileEntry("postgres", "postgres/database.dump", 2000, "x"),
    ),
    canary=(Question("kb", (1.0, 0.0), ("a", "b", "c")), Question("kb", (0.0, 1.0), ("d", "e", "f"))),
)  # fmt: skip


@pytest.mark.parametrize(
    ("here", "older"),
    [
        ({"postgres_major": 18, "chroma": "1.5.9"}, ""),
        ({"postgres_major": 19, "chroma": "1.10.0"}, ""),
        ({"postgres_major": 17, "chroma": "1.5.9"}, "Postgres 17"),
        ({"postgres_major": 18, "chroma": "1.5.8"}, "Chroma 1.5.8"),
        ({"postgres_major": 18, "chroma": "1.5.9b1"}, ""),
        ({"postgres_major": 18}, ""),
    ],
)
def test_a_set_goes_into_the_same_or_newer_versions_only(here: dict[str, object], older: str) -> None:
    if not older:
        versions.require_not_older(MANIFEST.versions, here)
        return
    with pytest.raises(SetTooNew, match=older):
        versions.require_not_older(MANIFEST.versions, here)


def test_needs_on_one_disk_are_added_up(tmp_path: Path) -> None:
    volumes = {name: tmp_path / "not-there-yet" / name for name in ("documents", "vectors", "models")}
    needs = space.needs(MANIFEST, volumes, tmp_path)
    assert sum(need.bytes for need in needs) == 1000 + 5000 + 2000 + 2000 * space.DATABASE_FACTOR
    (disk,) = space.require_space(needs, free=lambda _: 10**9)
    assert disk["needed"] == int(14000 * space.MARGIN) + space.RESERVE
    with pytest.raises(SpaceShort) as short:
        space.require_space(needs, free=lambda _: int(disk["needed"]) - 1)
    assert short.value.data["free"] == int(disk["needed"]) - 1


def test_the_canary_demands_the_first_hit_and_nine_tenths_of_the_rest() -> None:
    hits = [[f"{question}{place}" for place in range(11)] for question in range(2)]
    assert canary.agreement(hits, hits).passed
    two_of_twenty_gone = [[*hits[0][:10], "x"], [*hits[1][:10], "y"]]
    assert canary.agreement(hits, two_of_twenty_gone).passed
    three_of_twenty_gone = [[*hits[0][:9], "x", "z"], [*hits[1][:10], "y"]]
    assert not canary.agreement(hits, three_of_twenty_gone).passed
    first_two_swapped = [[hits[0][1], hits[0][0], *hits[0][2:]], hits[1]]
    assert canary.agreement(hits, first_two_swapped).differing == (0,)


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1), min_size=1))
def test_equal_hits_always_agree_and_no_hits_never_do(hits: list[list[str]]) -> None:
    assert canary.agreement(hits, hits).passed
    assert not canary.agreement(hits, [[] for _ in hits]).passed


def answering(counts: dict[str, int], ids: list[list[str]], status: int = 200) -> Api:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json=counts if request.method == "GET" else {"chunk_ids": ids})

    return Api(httpx.Client(transport=httpx.MockTransport(answer), base_url="http://api"))


def test_the_canary_reports_counts_and_refuses_fewer_rows() -> None:
    ids = [list(question.nearest) for question in MANIFEST.canary]
    report = canary.check(answering({"users": 2, "documents": 4, "chunks": 9}, ids), MANIFEST)
    assert (report["canary"]["passed"], report["short"]) == (True, [])
    with pytest.raises(CanaryFailed, match="fewer documents"):
        canary.check(answering({"users": 2, "documents": 2, "chunks": 9}, ids), MANIFEST)
    with pytest.raises(CanaryUnreached, match="status 503"):
        canary.check(answering({}, ids, status=503), MANIFEST)
    with pytest.raises(CanaryUnreached, match="without chunk_ids"):
        canary.check(answering({}, ids[:1]), MANIFEST)


def test_a_preview_says_in_figures_and_sentences_what_changes() -> None:
    live = preview.Side({"documents": 2, "users": 2}, Counter({("a.txt", "1"): 1, ("new.txt", "2"): 1}), frozenset())
    documents = Counter({("a.txt", "1"): 2} | {(f"{number}", "3"): 1 for number in range(7)})
    backup = preview.Side({"documents": 9, "users": 2}, documents, frozenset({"tiny:latest"}))
    found = preview.compare(live, backup)
    assert found["documents"] == {
        "gained_count": 8, "lost_count": 1, "gained": [*map(str, range(7)), "a.txt"], "lost": ["new.txt"],
    }  # fmt: skip
    assert found["summary"] == [
        "documents: 2 now, 9 in the set (+7)",
        "users: 2 now, 2 in the set (no change)",
        "documents gained: 0, 1, 2, 3, 4 and 3 more",
        "documents lost: new.txt",
        "models gained: tiny:latest",
    ]
    unknown = preview.compare(replace(live, documents=None), backup)["documents"]
    assert (unknown["gained_count"], unknown["gained"]) == (None, [])


def test_model_names_are_read_from_the_store(tmp_path: Path) -> None:
    for path in ("registry.ollama.ai/library/tiny/1b", "registry.ollama.ai/somebody/large/latest"):
        (tmp_path / "manifests" / path).parent.mkdir(parents=True)
        (tmp_path / "manifests" / path).touch()
    assert set(preview.model_names(tmp_path)) == {"tiny:1b", "somebody/large:latest"}


def test_a_dump_goes_into_a_named_database_without_owners_and_stops_at_the_first_error() -> None:
    server = Server("127.0.0.1", 5432, "rag", Secret("never shown"))
    argv = postgres.restore_argv(Path("/pg"), server, DatabaseNames("rag", "12345678-9").staging, Path("/job/d.dump"))
    assert argv == (
        "/pg/pg_restore", "--exit-on-error", "--jobs=2", "--no-owner", "--no-privileges", "--host", "127.0.0.1",
        "--port", "5432", "--username", "rag", "--no-password", "--dbname", "rag_staging_12345678", "/job/d.dump",
    )  # fmt: skip


def test_a_file_gets_a_second_place_and_keeps_what_is_there(tmp_path: Path) -> None:
    source, place = tmp_path / "source", tmp_path / "place"
    source.write_text("new")
    link_or_copy(source, place)
    assert place.samefile(source)
    other = tmp_path / "other"
    other.write_text("old")
    link_or_copy(source, other)
    assert other.read_text() == "old"


def test_where_there_are_no_links_a_copy_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, place = tmp_path / "source", tmp_path / "place"
    source.write_text("new")

    def no_links(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    def ends_early(_source: Path, target: Path) -> None:
        target.write_text("n")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", no_links)
    with monkeypatch.context() as full:
        full.setattr(shutil, "copy2", ends_early)
        with pytest.raises(OSError, match="No space"):
            link_or_copy(source, place)
    assert not place.exists()
    link_or_copy(source, place)
    assert (place.read_text(), place.samefile(source)) == ("new", False)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["place", "source"]
