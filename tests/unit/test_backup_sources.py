"""The sources: what is refused, what is copied, what is found damaged; and the canary's questions."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from backups import canary, gently, preflight
from backups.errors import FreezeBroken, SourceEmpty, SourceMissing, SourceUnreadable, SpaceShort, StagingInvalid
from backups.job import PostgresServer
from backups.manifest import Question
from backups.sources import config, documents, models, postgres, vectors
from backups.staging import keep_times, staged_files

SERVER = PostgresServer("db", 5432, "rag", "ragdb", Path("/run/secrets/postgres"))
SECOND_AGO = time.time_ns() - 1_000_000_000


def put(path: Path, content: bytes, mtime_ns: int = SECOND_AGO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


# documents


def test_documents_folder_must_be_there_and_not_empty(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing):
        documents.check(tmp_path / "gone", 0)
    documents.check(tmp_path, 0)
    with pytest.raises(SourceEmpty, match="lists 3 files"):
        documents.check(tmp_path, 3)


def test_documents_are_read_once_and_damage_is_named(tmp_path: Path) -> None:
    tree, cache = tmp_path / "live", tmp_path / "cache" / "verified.sqlite3"
    listed = {}
    for text in (b"whole", b"short", b"altered", b"missing"):
        sha256 = hashlib.sha256(text).hexdigest()
        put(tree / sha256, text)
        listed[sha256] = (sha256, len(text))
    names = list(listed)
    (tree / names[3]).unlink()
    put(tree / names[1], b"shor")
    put(tree / names[2], b"ALTERED")
    found = documents.Verifier(tree, cache).check(listed, lambda _: None)
    assert found.whole == [names[0]]
    assert found.faulty == {
        names[1]: "4 bytes instead of 5",
        names[2]: "content does not match its checksum",
        names[3]: "missing",
    }
    assert found.hashed == 2
    again = documents.Verifier(tree, cache).check({names[0]: listed[names[0]]}, lambda _: None)
    assert (again.whole, again.hashed) == ([names[0]], 0)


# models


def store(tmp_path: Path) -> tuple[Path, str]:
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()
    put(tmp_path / "blobs" / f"sha256-{digest}", content)
    put(tmp_path / "blobs" / "manifest-1-partial", b"{")
    manifest = {"config": {"digest": f"sha256:{digest}", "size": 7}, "layers": []}
    put(tmp_path / "manifests/registry.ollama.ai/library/tiny/1b", json.dumps(manifest).encode())
    return tmp_path, digest


def test_models_are_read_from_their_manifests(tmp_path: Path) -> None:
    folder, digest = store(tmp_path)
    models.check(folder)
    (model,) = models.read_models(models.take_manifests(folder))
    assert (model.name, model.manifest) == ("tiny:1b", "manifests/registry.ollama.ai/library/tiny/1b")
    assert [(blob.digest, blob.bytes) for blob in model.blobs] == [(f"sha256:{digest}", 7)]
    assert models.blob_path(folder, model.blobs[0]).read_bytes() == b"weights"


def test_a_model_store_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing):
        models.check(tmp_path / "gone")
    (tmp_path / "manifests").mkdir()
    with pytest.raises(SourceEmpty):
        models.check(tmp_path)


def test_a_damaged_manifest_is_named() -> None:
    with pytest.raises(SourceUnreadable, match="manifests/r/l/m/1"):
        models.read_models({"manifests/r/l/m/1": b"{}"})


# vectors


def test_the_warm_copy_copies_again_only_what_changed(tmp_path: Path) -> None:
    live, target = tmp_path / "live", tmp_path / "staged"
    put(live / "segment" / "data.bin", b"one")
    put(live / "segment" / "length.bin", b"two")
    warm = vectors.WarmCopy(live, target)
    assert warm.refresh() == 2
    assert warm.refresh() == 0
    put(live / "segment" / "data.bin", b"ONE", SECOND_AGO + 1)
    put(live / "later" / "data.bin", b"new")
    (live / "segment" / "length.bin").unlink()
    warm.watch()
    assert warm.finish() == 2
    copied = {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert copied == {"segment/data.bin": b"ONE", "later/data.bin": b"new"}


def test_a_file_written_just_now_is_copied_again(tmp_path: Path) -> None:
    put(tmp_path / "live/segment/data.bin", b"one", time.time_ns())
    warm = vectors.WarmCopy(tmp_path / "live", tmp_path / "staged")
    assert warm.refresh() == 1
    assert warm.refresh() == 1, "its time stamp cannot tell a second write in the same tick"


def test_files_that_never_rest_break_the_freeze(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(tmp_path / "live/segment/data.bin", b"one")
    monkeypatch.setattr(vectors, "SETTLE_LIMIT", 0.2)

    def restless(_seconds: float) -> None:
        put(file, b"one", time.time_ns())

    monkeypatch.setattr(vectors, "time", SimpleNamespace(**{**vars(time), "sleep": restless}))
    warm = vectors.WarmCopy(tmp_path / "live", tmp_path / "staged")
    warm.watch()
    with pytest.raises(FreezeBroken):
        warm.finish()


def test_a_folder_without_chromas_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match=r"chroma\.sqlite3"):
        vectors.check(tmp_path)


# postgres


def test_dump_commands() -> None:
    where = ("--host=db", "--port=5432", "--username=rag", "--no-password")
    assert postgres.dump_argv(Path("/pg"), SERVER, "00000003-1", Path("/s/database.dump")) == (
        "/pg/pg_dump", *where, "--dbname=ragdb", "--snapshot=00000003-1", "--format=custom", "--compress=0",
        "--file=/s/database.dump",
    )  # fmt: skip
    assert postgres.globals_argv(Path("/pg"), SERVER, Path("/s/globals.sql")) == (
        "/pg/pg_dumpall", *where, "--database=ragdb", "--globals-only", "--no-role-passwords", "--file=/s/globals.sql",
    )  # fmt: skip


SCRIPT = """SET row_security = off;
COPY public.users (id, email) FROM stdin;
1\tada@example.org
2\tCOPY public.other (id) FROM stdin;
\\.


COPY audit."Log Entries" ("When it was") FROM stdin;
\\.
SELECT pg_catalog.setval('public.users_id_seq', 2, true);
"""


def test_rows_are_counted_in_the_script_of_a_dump() -> None:
    assert postgres.count_rows(SCRIPT.splitlines()) == {"public.users": 2, 'audit."Log Entries"': 0}


def test_a_dump_that_lacks_rows_or_tables_is_refused() -> None:
    postgres.demand_rows({"public.users": 2, "public.more": 1}, {"public.users": 2})
    with pytest.raises(StagingInvalid, match=r"public\.users: 1 rows instead of 2"):
        postgres.demand_rows({"public.users": 1}, {"public.users": 2})
    with pytest.raises(StagingInvalid, match=r"public\.chunks is not in it"):
        postgres.demand_rows({"public.users": 2}, {"public.users": 2, "public.chunks": 0})


# config and staging


def test_config_is_copied_without_secrets(tmp_path: Path) -> None:
    put(tmp_path / "conf/stack.yaml", b"name: rag")
    put(tmp_path / "conf/secrets/postgres", b"hidden")
    put(tmp_path / "nginx.conf", b"http {}")
    config.stage([tmp_path / "conf", tmp_path / "nginx.conf"], tmp_path / "staged")
    found = {path.relative_to(tmp_path / "staged").as_posix() for path in (tmp_path / "staged").rglob("*.*")}
    assert found == {"conf/stack.yaml", "nginx.conf"}
    assert not (tmp_path / "staged/conf/secrets").exists()
    with pytest.raises(SourceMissing):
        config.stage([tmp_path / "gone"], tmp_path / "staged")


def test_what_did_not_change_keeps_the_time_of_the_last_set(tmp_path: Path) -> None:
    staging, remembered = tmp_path / "set", tmp_path / "cache" / "staged.json"

    def staged(**contents: str) -> dict[str, int]:
        shutil.rmtree(staging, ignore_errors=True)
        (staging / "vectors").mkdir(parents=True)
        for name, content in contents.items():
            (staging / "vectors" / name).write_text(content)
        keep_times(staging, staged_files(staging), remembered)
        return {name: (staging / "vectors" / name).stat().st_mtime_ns for name in contents}

    first = staged(same="a", other="b")
    second = staged(same="a", other="c", new="d")
    assert second["same"] == first["same"]
    assert second["other"] > first["other"]
    assert staged(same="a", other="b")["other"] > second["other"], "a content that comes back is not taken for older"
    remembered.write_text("[")
    assert staged(same="a")["same"] > second["same"]


def test_staged_files_carry_their_source_and_checksum(tmp_path: Path) -> None:
    put(tmp_path / "config/a/b.yaml", b"x")
    put(tmp_path / "extra/wiki/database.dump", b"xy")
    own, further = staged_files(tmp_path)
    assert (own.source, own.path, own.bytes) == ("config", "config/a/b.yaml", 1)
    assert own.sha256 == hashlib.sha256(b"x").hexdigest()
    assert (further.source, further.path, further.bytes) == ("wiki", "extra/wiki/database.dump", 2)


def test_a_disk_that_is_too_small_is_refused(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    preflight.check_space(tmp_path, 1)
    with pytest.raises(SpaceShort) as raised:
        preflight.check_space(tmp_path, free * 2)
    assert raised.value.data["needed"] == free * 2


def test_staging_counts_the_vectors_twice() -> None:
    assert preflight.staging_bytes(10, 100) == 120 + preflight.RESERVE_BYTES


def test_a_gentle_copy_is_whole_and_flushed_as_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(gently, "CHUNK_BYTES", 10)
    monkeypatch.setattr(os, "fdatasync", lambda file: flushed.append(os.fstat(file).st_size))
    source = put(tmp_path / "source", b"0123456789" * 2 + b"end")
    gently.copy_gently(source, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == source.read_bytes()
    assert flushed == [10, 20, 23]


def test_what_others_write_is_flushed_until_they_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = threading.Event()
    monkeypatch.setattr(gently, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(os, "fdatasync", lambda _file: flushed.set())
    with gently.flushed_as_it_grows(tmp_path / "file"):
        assert flushed.wait(10)
    assert "flush" not in {thread.name for thread in threading.enumerate()}


# canary


def exactly(question: Question) -> Sequence[str]:
    """An index that finds everything."""
    return question.nearest


def test_questions_have_their_exact_nearest_first() -> None:
    rng = np.random.default_rng(1)
    found_vectors = rng.normal(size=(200, 8)).astype(np.float32)
    ids = [f"chunk-{row:03}" for row in range(200)]
    questions = canary.answerable(canary.candidates("kb", ids, found_vectors), exactly)
    assert len(questions) == canary.QUESTIONS
    for question in questions:
        vector = np.asarray(question.vector)
        cosine = found_vectors @ vector / (np.linalg.norm(found_vectors, axis=1) * np.linalg.norm(vector))
        assert list(question.nearest) == [ids[row] for row in np.argsort(-cosine)[: canary.NEAREST]]
    rows = [ids.index(question.nearest[0]) for question in questions]
    assert max(rows) - min(rows) > 150, "the questions are spread over the corpus"


def test_what_an_intact_index_answers_wrongly_is_no_question() -> None:
    rows = [f"chunk-{row:02}" for row in range(12)]
    asked = [Question("kb", (float(row),), (rows[row], *rows[row + 1 : row + 10])) for row in range(3)]

    def answer(question: Question) -> Sequence[str]:
        wrong = {0: ["other", *question.nearest[1:]], 1: [*question.nearest[:9], "other"]}
        return wrong.get(int(question.vector[0]), question.nearest)

    assert canary.answerable(asked, answer) == [asked[2], replace(asked[1], nearest=(rows[1],))]


def test_twins_are_no_questions() -> None:
    twins = np.asarray([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    assert [question.nearest[0] for question in canary.candidates("kb", ["a", "b", "c"], twins)] == ["c"]


def test_an_empty_collection_has_no_questions_and_one_chunk_has_one() -> None:
    assert list(canary.candidates("kb", [], np.zeros((0, 4), dtype=np.float32))) == []
    (only,) = canary.candidates("kb", ["a"], np.ones((1, 4), dtype=np.float32))
    assert only.nearest == ("a",)
