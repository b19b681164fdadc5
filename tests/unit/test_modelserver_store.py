"""The model store on disk: Ollama's layout, whole files only, checksums, sharing and removal of blobs."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import StreamingResponse
from starlette.concurrency import iterate_in_threadpool

from rag_api.modelserver.answers import ndjson
from rag_api.modelserver.blobs import CHUNK
from rag_api.modelserver.errors import ModelNotFoundError, ServerBusyError, StoreDamagedError
from rag_api.modelserver.names import ModelName
from rag_api.modelserver.packaged import Packaged, Part
from rag_api.modelserver.pull import Status, pull
from rag_api.modelserver.store import CONFIG, LICENSE, MODEL, Store

BIG = bytes(range(256)) * (3 * CHUNK // 256) + b"tail"
NAME = ModelName.parse("tiny")


class Tiny(Packaged):
    """Three and a bit chunks of bytes in the shape of a model."""

    model = "tiny"
    tags = ("latest",)
    packages = ()

    def __init__(self, file: Path, content: bytes = BIG) -> None:
        file.write_bytes(content)
        self._file = file

    def parts(self) -> list[Part]:
        return [Part(MODEL, self._file), Part(LICENSE, data=b"do what you like")]

    def config(self) -> dict[str, Any]:
        return {"model_format": "gguf", "model_family": "tiny"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    return Tiny(tmp_path / "weights")


def blob_names(store: Store) -> set[str]:
    return {path.name for path in store.blobs.folder.iterdir()}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_pull_writes_ollamas_layout(store: Store, tiny: Tiny) -> None:
    statuses = list(pull(store, NAME, tiny))

    assert statuses[0] == {"status": "pulling manifest"}
    assert statuses[-1] == {"status": "success"}
    manifest = json.loads((store.manifests / "registry.ollama.ai/library/tiny/latest").read_text())
    assert manifest["schemaVersion"] == 2
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert manifest["config"]["mediaType"] == CONFIG
    assert manifest["layers"] == [
        {"mediaType": MODEL, "digest": f"sha256:{sha256(BIG)}", "size": len(BIG)},
        {"mediaType": LICENSE, "digest": f"sha256:{sha256(b'do what you like')}", "size": 16},
    ]
    entries = [manifest["config"], *manifest["layers"]]
    assert blob_names(store) == {entry["digest"].replace(":", "-") for entry in entries}
    for path in store.blobs.folder.iterdir():
        assert path.name == f"sha256-{sha256(path.read_bytes())}"


def test_listed_digest_is_that_of_the_manifest(store: Store, tiny: Tiny) -> None:
    list(pull(store, NAME, tiny))

    (model,) = store.installed()

    assert model.digest == sha256((store.manifests / NAME.path).read_bytes())
    assert model.size == sum(path.stat().st_size for path in store.blobs.folder.iterdir())


def interrupted(statuses: Iterator[Status]) -> None:
    """Take statuses until one chunk of the first layer is written, then go away."""
    for status in statuses:
        if status.get("completed") == CHUNK:
            break
    statuses.close()  # type: ignore[attr-defined]


def test_interrupted_pull_leaves_a_partial_file_only_and_goes_on_from_there(store: Store, tiny: Tiny) -> None:
    interrupted(pull(store, NAME, tiny))

    assert blob_names(store) == {f"sha256-{sha256(BIG)}-partial"}
    assert store.installed() == []

    completed = [status["completed"] for status in pull(store, NAME, tiny) if status.get("total") == len(BIG)]
    assert completed[0] == CHUNK
    assert completed[-1] == len(BIG)
    assert not [name for name in blob_names(store) if name.endswith("-partial")]
    assert store.blobs.verify(f"sha256:{sha256(BIG)}").read_bytes() == BIG


def test_client_that_leaves_a_pull_lets_the_store_go(store: Store, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag_api.modelserver.store._PATIENCE_SECONDS", 1.0)

    async def leave_early() -> None:
        answer = await ndjson(iterate_in_threadpool(pull(store, NAME, tiny)))
        assert isinstance(answer, StreamingResponse)
        read = asyncio.Event()

        async def client() -> None:
            async for _ in answer.body_iterator:
                read.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(client())
        await read.wait()
        task.cancel()
        await asyncio.wait({task})

    asyncio.run(leave_early())

    assert list(pull(store, NAME, tiny))[-1] == {"status": "success"}


def test_pull_waits_for_the_one_that_runs(store: Store, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag_api.modelserver.store._PATIENCE_SECONDS", 0.05)
    with store.exclusive(), pytest.raises(ServerBusyError, match="still running"):
        list(pull(store, NAME, tiny))


def test_resumed_copy_with_a_wrong_start_is_discarded(store: Store, tiny: Tiny) -> None:
    interrupted(pull(store, NAME, tiny))
    (partial,) = store.blobs.folder.iterdir()
    partial.write_bytes(b"x" * CHUNK)

    with pytest.raises(StoreDamagedError, match="digest mismatch"):
        list(pull(store, NAME, tiny))

    assert blob_names(store) == set()
    assert list(pull(store, NAME, tiny))[-1] == {"status": "success"}


def test_second_pull_copies_nothing(store: Store, tiny: Tiny) -> None:
    list(pull(store, NAME, tiny))
    before = {path: path.stat().st_ino for path in store.blobs.folder.iterdir()}

    list(pull(store, NAME, tiny))

    assert {path: path.stat().st_ino for path in store.blobs.folder.iterdir()} == before


def test_damaged_blob_is_named_and_healed_by_a_pull(store: Store, tiny: Tiny) -> None:
    list(pull(store, NAME, tiny))
    digest = f"sha256:{sha256(BIG)}"
    path = store.blobs.path(digest)
    path.write_bytes(b"?" + BIG[1:])

    with pytest.raises(StoreDamagedError, match=f"{path.name} does not have its checksum"):
        store.blobs.verify(digest)

    list(pull(store, NAME, tiny))
    assert store.blobs.verify(digest).read_bytes() == BIG


def test_missing_blob_is_named(store: Store, tiny: Tiny) -> None:
    list(pull(store, NAME, tiny))
    path = store.blobs.path(f"sha256:{sha256(BIG)}")
    path.unlink()

    with pytest.raises(StoreDamagedError, match=f"{path.name} is missing"):
        store.blobs.verify(f"sha256:{sha256(BIG)}")


def test_delete_keeps_what_another_model_names(store: Store, tiny: Tiny) -> None:
    list(pull(store, NAME, tiny))
    before = blob_names(store)
    copy = ModelName.parse("other:v1")
    store.copy(NAME, copy)

    store.delete(NAME)
    assert blob_names(store) == before
    assert [model.name for model in store.installed()] == [copy]

    store.delete(copy)
    assert blob_names(store) == set()
    assert list(store.manifests.rglob("*")) == []


def test_delete_removes_no_blob_while_a_manifest_cannot_be_read(store: Store, tiny: Tiny) -> None:
    list(pull(store, NAME, tiny))
    before = blob_names(store)
    broken = store.manifests / ModelName.parse("broken").path
    broken.parent.mkdir(parents=True)
    broken.write_text("{")

    store.delete(NAME)

    assert blob_names(store) == before
    with pytest.raises(StoreDamagedError, match="'broken:latest' is damaged"):
        store.get(ModelName.parse("broken"))


def test_unknown_models_are_not_found(store: Store) -> None:
    for action in (store.get, store.delete):
        with pytest.raises(ModelNotFoundError, match="'tiny:latest' not found"):
            action(NAME)
    with pytest.raises(ModelNotFoundError, match="'tiny:latest' not found"):
        store.copy(NAME, ModelName.parse("other"))


def test_manifest_with_a_path_for_a_digest_reaches_no_file(store: Store) -> None:
    with pytest.raises(StoreDamagedError, match="not a sha256 digest"):
        store.blobs.path("sha256:../../etc/passwd")
