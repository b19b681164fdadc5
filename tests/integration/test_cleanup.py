"""Clean-up: what would go is shown, and only that goes."""

from __future__ import annotations

import os
import uuid
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from django.test import Client
from django.utils import timezone

from portal.cleanup import engine, services
from portal.cleanup.pieces import Piece, Sort
from portal.cleanup.services import pieces, pieces_remove
from portal.core import places
from portal.doctor.kinds import MACHINE
from portal.operations import worker
from portal.operations.errors import OperationRefused
from portal.operations.models import Operation, State
from portal.operations.services import operation_start
from portal.runtime.compose.client import Docker
from portal.runtime.compose.containers import PROJECT
from portal.runtime.errors import StackFileError
from portal.runtime.foreign import Foreign
from portal.runtime.protocol import Rendered
from portal.runtime.spec import StackSpec
from portal.stacks.models import Stack
from tests.support import portal_web, tiny_stack
from tests.support.portal_web import Rows

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def used(control_plane: None, tmp_path: Path) -> Rows:
    rows = portal_web.rows(tmp_path)
    logs = tmp_path / "stacks" / "rag" / "logs"
    logs.mkdir(parents=True)
    for name, size in (("api.log", 10), ("api.log.1", 1000), ("api.log.2", 2000), ("api.log.old", 5)):
        (logs / name).write_text("x" * size)
    return rows


def work_folder(var: Path, operation: Operation | None, *, days: float) -> Path:
    folder = var / "operations" / str(operation.pk if operation else uuid.uuid4())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "staging").write_text("x" * 500)
    at = timezone.now() - timedelta(days=days)
    os.utime(folder, (at.timestamp(), at.timestamp()))
    if operation:
        Operation.objects.filter(pk=operation.pk).update(finished_at=at)
    return folder


def names(sort: Sort) -> list[str]:
    return [piece.name for piece in pieces(now=timezone.now()) if piece.sort is sort]


def test_rotated_logs_can_go_and_the_others_stay(used: Rows) -> None:
    assert names(Sort.LOGS) == ["stacks/rag/logs/api.log.1", "stacks/rag/logs/api.log.2"]


def test_work_folders_go_a_week_after_the_end_unless_an_undo_needs_them(used: Rows, tmp_path: Path) -> None:
    old = work_folder(tmp_path, used.done, days=8)
    work_folder(tmp_path, used.failed, days=6)
    assert used.kept.operation is not None
    work_folder(tmp_path, used.kept.operation, days=30)
    work_folder(tmp_path, portal_web.operation(state=State.RUNNING), days=30)
    unknown = work_folder(tmp_path, None, days=8)
    work_folder(tmp_path, None, days=1)
    (tmp_path / "operations" / "cache").mkdir()
    assert set(names(Sort.WORK)) == {f"operations/{old.name}", f"operations/{unknown.name}"}


def test_what_was_chosen_goes_and_its_room_is_told(used: Rows, tmp_path: Path) -> None:
    folder = work_folder(tmp_path, used.done, days=8)
    operation = operation_start(kind="cleanup", target=MACHINE, params={"sorts": ["logs"]})
    worker.execute(operation.pk)
    operation.refresh_from_db()
    assert operation.state == State.SUCCEEDED
    assert operation.result == {"removed": 2, "freed_bytes": 3000, "left": 0}
    assert sorted(path.name for path in (tmp_path / "stacks/rag/logs").iterdir()) == ["api.log", "api.log.old"]
    assert folder.exists()


def test_what_lies_elsewhere_is_left_alone(used: Rows, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    link = tmp_path / "operations" / str(uuid.uuid4())
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    gone, left = pieces_remove([Piece(Sort.WORK, str(link), "link", 0), Piece(Sort.WORK, str(outside), "outside", 0)])
    assert (gone, len(left)) == ([], 2)
    assert outside.exists()


@pytest.mark.parametrize("sorts", [[], None, "logs", ["everything"], [1]])
def test_nonsense_is_refused(used: Rows, sorts: object) -> None:
    with pytest.raises(OperationRefused, match="Nothing was chosen"):
        operation_start(kind="cleanup", target=MACHINE, params={"sorts": sorts})


def test_the_page_shows_what_would_go(used: Rows) -> None:
    operator: Client = portal_web.clients()["operator"]
    text = operator.get("/stack/clean-up/").content.decode()
    assert "Logs that were rotated away" in text
    assert "2.9 KiB in all" in text
    answer = operator.post("/stack/clean-up/start/", {"sorts": ["logs", "work"]})
    assert Operation.objects.get(kind="cleanup").params == {"sorts": ["logs", "work"]}
    assert answer.headers["Location"].startswith("/operations/")
    assert "Nothing was chosen" in operator.post("/stack/clean-up/start/", follow=True).content.decode()


class Engine:
    """Answers as the Docker Engine does, with these images and nothing else."""

    def __init__(self, *images: dict[str, Any]) -> None:
        self.images = list(images)

    def containers(self) -> list[dict[str, Any]]:
        return []

    def get(self, path: str, *_: object, **__: object) -> object:
        return self.images if path == "/images/json" else {}


def test_while_the_files_of_a_project_are_wrong_its_images_stay_and_others_can_go(
    used: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    Stack.objects.create(name="shop", runtime="compose")
    plain = tiny_stack.tiny()
    specs = {"rag": replace(plain, project="rag"), "shop": replace(plain, project="shop", foreign=Foreign(("c.yaml",)))}

    def rendered(spec: StackSpec) -> Rendered:
        if spec.foreign is not None:
            raise StackFileError("services.web", "expected a mapping")
        return Rendered("", {}, {})

    monkeypatch.setattr(places, "stack_spec", specs.__getitem__)
    monkeypatch.setattr(places.runtime(), "rendered", rendered)
    docker = SimpleNamespace(
        engine=Engine(*(image("<none>:<none>", Id=name, Labels={PROJECT: name}) for name in ("rag", "shop")))
    )
    assert [piece.key for piece in services._of_engine(cast(Docker, docker))] == ["rag"]
    specs["rag"] = replace(plain, project="rag", foreign=None)
    monkeypatch.setattr(places.runtime(), "rendered", lambda _: rendered(specs["shop"]))
    with pytest.raises(StackFileError):
        services._of_engine(cast(Docker, docker))


def image(*tags: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - an answer of the engine
    return {"Id": "sha256:1", "RepoTags": list(tags), "Size": 100, "SharedSize": 30, **fields}


@pytest.mark.parametrize(
    ("found", "left"),
    [
        (image("ragkeep/rag-api:0.0.9"), True),
        (image("<none>:<none>", Labels={PROJECT: "rag"}), True),
        (image("rag-api:latest", Labels={PROJECT: "rag"}), True),
        (image("ragkeep/rag-api:0.0.9", "ragkeep/kept:rag-api-3"), False),
        (image("ragkeep/rag-api:0.1.0"), False),
        (image("ragkeep/frontend:0.0.9", Id="sha256:needed"), False),
        (image("postgres:18.4"), False),
        (image("<none>:<none>", Labels={PROJECT: "somebody-elses"}), False),
        (image("registry.local/app:1", RepoDigests=["ragkeep/x@sha256:needed"], Labels={PROJECT: "rag"}), False),
    ],
)
def test_only_images_made_here_and_needed_by_nothing_can_go(found: dict[str, Any], left: bool) -> None:
    needed = ["ragkeep/rag-api:0.1.0", "sha256:needed", "ragkeep/x@sha256:needed"]
    assert engine.is_left(found, ["rag", "ragkeep-portal"], needed) is left
    assert engine.freed(found) == 70
