"""Deploys and roll-backs on a scripted runtime: what they do in which order, and the way back from every failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import OperationalError, connection

from portal.core.deployed import deployed_get
from portal.core.models import AuditEntry
from portal.operations import reaper, worker
from portal.operations.errors import OperationRefused
from portal.operations.models import LogLine, Operation, State
from portal.operations.services import operation_cancel, operation_start
from portal.runtime.errors import ImageMissingError
from portal.runtime.protocol import Report
from portal.runtime.spec import StackSpec
from portal.runtime.translate import Location
from portal.stacks import gate, preflight, releases
from portal.stacks.models import Release, ReleaseState, Stack
from portal.stacks.pending import pending_change, pending_get
from portal.stacks.preflight import Machine
from portal.stacks.releases import release_note_running, releases_retire, spec_of
from portal.stacks.services import stack_started
from portal.vaults.models import BackupSet, Restore
from tests.support import portal_scene
from tests.support.answering import Answering, answering
from tests.support.portal_scene import TARGET, Scene

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

scene = portal_scene.scene
MARKER = "marker-8f41c2-value"
SERVED = ["check", "provide", "candidate", "backup", "ask", "apply", "healthy", "canary", "serve"]


@pytest.fixture
def service() -> Iterator[Answering]:
    with answering() as server:
        yield server


@pytest.fixture
def stack(scene: Scene, service: Answering, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A stack whose release 1 serves."""
    monkeypatch.setattr(Location, "url", lambda *_: service.url)
    monkeypatch.setattr(gate, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(gate, "HEALTHY_SECONDS", 0.5)
    monkeypatch.setattr(gate, "ASK_SECONDS", 0.5)
    scene.runtime.locate(scene.spec).secret("internal_token").write_text("token")
    stack_started("rag")
    scene.runtime.calls.clear()
    return scene


def run(kind: str, **params: object) -> Operation:
    operation = operation_start(kind=kind, target=TARGET, params=params)
    worker.execute(operation.pk)
    operation.refresh_from_db()
    return operation


def change(**settings: str) -> None:
    pending_change(stack="rag", values=settings)


def states() -> dict[int, str]:
    return {release.number: release.state for release in Release.objects.order_by("number")}


def journal(operation: Operation) -> list[str]:
    return [step.name for step in operation.steps.all()]


def restarted(scene: Scene) -> set[str]:
    return {service for verb, _, service in scene.runtime.calls if verb == "start"}


def serves(scene: Scene, number: int) -> bool:
    """Whether everything runs as that release says, and the portal knows it."""
    release = Release.objects.get(number=number)
    deployed = deployed_get("rag")
    runs = scene.runtime.plan(spec_of(release), release=deployed).is_empty
    return runs and release.state == ReleaseState.CURRENT and scene.stopped_and_started()


def test_what_up_started_is_release_one(stack: Scene) -> None:
    assert states() == {1: "current"}
    assert deployed_get("rag") is not None
    stack_started("rag")
    assert states() == {1: "current"}


def test_a_deploy_goes_through_its_steps_and_records_a_release(stack: Scene, service: Answering) -> None:
    change(LOG_LEVEL="DEBUG")
    operation = run("stack.deploy", note="noisier logs")
    assert operation.state == State.SUCCEEDED
    assert journal(operation) == SERVED
    assert restarted(stack) == {"api", "ingest"}
    assert operation.result["changes"] == {"api": "recreate", "ingest": "recreate"}
    assert states() == {1: "kept", 2: "current"}
    assert serves(stack, 2)
    made = Release.objects.get(number=2)
    assert (made.note, made.operation, made.schema) == ("noisier logs", operation, service.schema)
    assert service.asked.count("/internal/search") == 2


def test_what_waited_is_deployed_once(stack: Scene) -> None:
    change(LOG_LEVEL="DEBUG")
    run("stack.deploy")
    assert pending_get("rag") == {}
    again = run("stack.deploy")
    assert (again.state, again.result["changes"]) == (State.SUCCEEDED, {})
    assert states() == {1: "kept", 2: "current"}


def test_a_plan_changes_nothing_and_says_what_would(stack: Scene) -> None:
    assert run("stack.plan").result["plan"]["nothing"] is True
    change(LOG_LEVEL="DEBUG")
    report = run("stack.plan").result["plan"]
    assert {row["service"] for row in report["changes"] if row["action"] != "keep"} == {"api", "ingest"}
    assert report["settings"] == {"LOG_LEVEL": "added"}
    assert not report["nothing"]
    assert stack.runtime.calls == []
    run("stack.deploy")
    assert run("stack.plan").result["plan"]["nothing"] is True


def test_the_embedding_model_is_a_matter_of_data(stack: Scene) -> None:
    change(EMBED_MODEL="all-minilm:l12")
    report = run("stack.plan").result["plan"]
    assert report["backup"]
    assert "embedding model" in report["touches"][0]
    operation = run("stack.deploy")
    assert operation.state == State.SUCCEEDED
    assert stack.calls() == ["backup"]
    made = Release.objects.get(number=2)
    assert made.set_before == operation.result["set_id"] == operation.children.get().result["set_id"]
    assert BackupSet.objects.filter(pk=made.set_before).exists()


def test_a_deploy_ends_when_its_backup_fails_unless_told_otherwise(stack: Scene) -> None:
    (stack.folder / "backup.fail").touch()
    change(EMBED_MODEL="all-minilm:l12")
    operation = run("stack.deploy")
    assert (operation.state, operation.error["code"]) == (State.FAILED, "backup_failed")
    assert "Nothing was changed" in operation.error["message"]
    assert restarted(stack) == set()
    assert states() == {1: "current", 2: "failed"}
    assert run("stack.deploy", backup=False).state == State.SUCCEEDED
    assert states()[3] == "current"


def test_a_service_that_does_not_start_leaves_the_old_release_serving(stack: Scene) -> None:
    change(LOG_LEVEL="DEBUG")
    broken = stack.runtime.apply
    stack.runtime.faults["api"] = "no configuration"

    def mended(spec: StackSpec, **given: object) -> object:
        if spec.settings.get("LOG_LEVEL") != "DEBUG":
            stack.runtime.faults.clear()
        return broken(spec, **given)  # type: ignore[arg-type]

    stack.runtime.apply = mended  # type: ignore[method-assign, assignment]
    operation = run("stack.deploy")
    assert (operation.state, operation.error["code"]) == (State.FAILED, "service_failed")
    assert operation.error["message"].endswith("Release 1 serves again.")
    assert states() == {1: "current", 2: "failed"}
    assert Release.objects.get(number=2).failure["code"] == "service_failed"
    assert serves(stack, 1)
    assert pending_get("rag") == {"LOG_LEVEL": "DEBUG"}


@pytest.mark.parametrize("kind", ["refuses", "finds nothing"])
def test_a_canary_that_fails_brings_the_old_release_back(stack: Scene, service: Answering, kind: str) -> None:
    change(LOG_LEVEL="DEBUG")
    inner = stack.runtime.apply

    def worse(spec: StackSpec, **given: object) -> object:
        new = spec.settings.get("LOG_LEVEL") == "DEBUG"
        service.status = 500 if new and kind == "refuses" else 200
        service.hits = 0 if new and kind == "finds nothing" else 2
        return inner(spec, **given)  # type: ignore[arg-type]

    stack.runtime.apply = worse  # type: ignore[method-assign, assignment]
    operation = run("stack.deploy")
    assert (operation.state, operation.error["code"]) == (State.FAILED, "canary_failed")
    assert serves(stack, 1)


def test_an_image_that_is_not_to_be_had_stops_nothing(stack: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def provide(spec: StackSpec, *, report: Report | None = None) -> None:
        raise ImageMissingError({"api": "ragkeep/rag-api:9.9.9"}, "not found")

    monkeypatch.setattr(stack.runtime, "provide", provide)
    change(LOG_LEVEL="DEBUG")
    operation = run("stack.deploy")
    assert operation.error["code"] == "image_missing"
    assert "ragkeep/rag-api:9.9.9 (service api)" in operation.error["message"]
    assert stack.runtime.calls == []
    assert states() == {1: "current"}


def test_what_is_in_the_way_is_said_before_anything_is_fetched(stack: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "machine_now", lambda _: Machine(1 << 20, 8 << 30, None))
    change(LOG_LEVEL="DEBUG")
    operation = run("stack.deploy")
    assert operation.error["code"] == "not_ready"
    assert "1 MiB of disk" in operation.error["message"]
    assert journal(operation) == ["check", "give_up"]
    assert stack.runtime.calls == []


def test_a_cancelled_deploy_goes_back(stack: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "SETTLE_SECONDS", 0.7)
    change(LOG_LEVEL="DEBUG")
    operation = operation_start(kind="stack.deploy", target=TARGET, params={})
    inner = stack.runtime.apply

    def cancelled(spec: StackSpec, **given: object) -> object:
        if spec.settings.get("LOG_LEVEL") == "DEBUG":
            operation_cancel(operation=operation)
        return inner(spec, **given)  # type: ignore[arg-type]

    stack.runtime.apply = cancelled  # type: ignore[method-assign, assignment]
    worker.execute(operation.pk)
    operation.refresh_from_db()
    assert operation.state == State.CANCELLED
    assert serves(stack, 1)
    assert states() == {1: "current", 2: "failed"}


@pytest.mark.parametrize(
    ("step", "end"),
    [*((step, "started") for step in (*SERVED, "give_up", "return")), ("apply", "done"), ("serve", "done")],
)
def test_a_worker_that_dies_at_any_step_is_succeeded_by_one_that_ends_it(
    stack: Scene, service: Answering, monkeypatch: pytest.MonkeyPatch, step: str, end: str
) -> None:
    """The crash is an error of our own database, which leaves the journal as a dead worker would."""
    going_back = step in ("give_up", "return")
    inner, died = stack.runtime.apply, list[str]()

    def worse(spec: StackSpec, **given: object) -> object:
        service.status = 500 if going_back and spec.settings.get("LOG_LEVEL") == "DEBUG" else 200
        return inner(spec, **given)  # type: ignore[arg-type]

    def reach(point: str) -> None:
        if point == f"worker.stack.deploy.{step}.{end}" and not died:
            died.append(point)
            raise OperationalError("crash")

    stack.runtime.apply = worse  # type: ignore[method-assign, assignment]
    monkeypatch.setattr("backups.fault.reach", reach)
    change(LOG_LEVEL="DEBUG")
    operation = operation_start(kind="stack.deploy", target=TARGET, params={})
    with pytest.raises(OperationalError):
        worker.execute(operation.pk)
    assert reaper.reap() == 1
    worker.execute(operation.pk)
    operation.refresh_from_db()
    assert died
    assert operation.state == (State.FAILED if going_back else State.SUCCEEDED)
    assert states() == ({1: "current", 2: "failed"} if going_back else {1: "kept", 2: "current"})
    assert serves(stack, 1 if going_back else 2)


def test_a_roll_back_brings_code_and_settings_of_a_release_back(stack: Scene) -> None:
    change(LOG_LEVEL="DEBUG")
    run("stack.deploy")
    stack.runtime.calls.clear()
    operation = run("stack.rollback", release=1)
    assert operation.state == State.SUCCEEDED
    assert restarted(stack) == {"api", "ingest"}
    assert states() == {1: "kept", 2: "kept", 3: "current"}
    assert serves(stack, 3)
    assert Release.objects.get(number=3).note == "Back to release 1."
    assert stack.calls() == []


def test_a_start_after_a_roll_back_starts_what_was_gone_back_to(stack: Scene) -> None:
    change(LOG_LEVEL="DEBUG")
    run("stack.deploy")
    run("stack.rollback", release=1)
    run("stack.restart")
    assert serves(stack, 3)


def test_a_roll_back_with_data_restores_the_set_of_that_time(stack: Scene) -> None:
    change(EMBED_MODEL="all-minilm:l12")
    run("stack.deploy")
    taken = Release.objects.get(number=2).set_before
    operation = run("stack.rollback", release=1, data=True)
    assert operation.state == State.SUCCEEDED
    assert operation.result["restored"] == taken
    restored = operation.children.get(kind="restore")
    assert restored.params == {"set": taken}
    assert Restore.objects.get(operation=restored).state == "kept"
    assert serves(stack, 3)


def test_a_roll_back_whose_data_does_not_come_back_changes_nothing(stack: Scene) -> None:
    change(EMBED_MODEL="all-minilm:l12")
    run("stack.deploy")
    (stack.folder / "swap.fail").touch()
    operation = run("stack.rollback", release=1, data=True)
    assert (operation.state, operation.error["code"]) == (State.FAILED, "restore_failed")
    assert serves(stack, 2)


def test_a_roll_back_that_fails_after_the_data_came_back_undoes_that_too(stack: Scene, service: Answering) -> None:
    change(EMBED_MODEL="all-minilm:l12")
    run("stack.deploy")
    inner = stack.runtime.apply

    def worse(spec: StackSpec, **given: object) -> object:
        service.status = 500 if spec.settings.get("EMBED_MODEL") == "" else 200
        return inner(spec, **given)  # type: ignore[arg-type]

    stack.runtime.apply = worse  # type: ignore[method-assign, assignment]
    operation = run("stack.rollback", release=1, data=True)
    assert (operation.state, operation.error["code"]) == (State.FAILED, "canary_failed")
    assert Restore.objects.get(operation=operation.children.get(kind="restore")).state == "undone"
    assert serves(stack, 2)


def test_a_schema_that_the_code_does_not_know_is_refused(stack: Scene, service: Answering) -> None:
    change(LOG_LEVEL="DEBUG")
    run("stack.deploy")
    Release.objects.filter(number=1).update(schema={"code": "0003"})
    with pytest.raises(OperationRefused, match="0005") as refused:
        operation_start(kind="stack.rollback", target=TARGET, params={"release": 1})
    assert "code and data" in refused.value.remedy
    Release.objects.filter(number=1).update(schema={"code": "0004"})
    assert run("stack.rollback", release=1).state == State.SUCCEEDED


@pytest.mark.parametrize(("number", "sentence"), [(1, "serves already"), (7, "no release 7"), ("x", "no release")])
def test_a_release_that_cannot_be_gone_back_to_is_refused(stack: Scene, number: object, sentence: str) -> None:
    with pytest.raises(OperationRefused, match=sentence):
        operation_start(kind="stack.rollback", target=TARGET, params={"release": number})


def test_data_that_nobody_took_a_set_of_cannot_come_back(stack: Scene) -> None:
    change(LOG_LEVEL="DEBUG")
    run("stack.deploy")
    with pytest.raises(OperationRefused, match="No backup set was taken"):
        operation_start(kind="stack.rollback", target=TARGET, params={"release": 1, "data": True})


def test_what_up_changed_becomes_a_release_and_what_nobody_knows_does_not(stack: Scene) -> None:
    stack.runtime.apply(stack.spec.derive(settings={"LOG_LEVEL": "ERROR"}))
    stack_started("rag")
    assert states() == {1: "kept", 2: "current"}
    stack.runtime.stop(stack.spec, services=["api"])
    assert release_note_running("rag") is None
    assert deployed_get("rag") is None


def test_a_lost_key_of_releases_keeps_no_stack_from_starting(stack: Scene) -> None:
    (stack.runtime.paths.var / "control/secrets/releases/key").unlink()
    stack_started("rag")
    assert states() == {1: "kept", 2: "current"}


def test_only_so_many_releases_are_kept_and_their_files_go_with_them(
    stack: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "KEEP", 2)
    for number in range(3):
        change(LOG_LEVEL="DEBUG" if number % 2 else "ERROR")
        assert run("stack.deploy").state == State.SUCCEEDED
    assert states() == {2: "kept", 3: "kept", 4: "current"}
    assert all(name.endswith(("-2", "-3", "-4")) for name in stack.runtime.kept)
    files = {Path(release.sealed_file).name for release in Release.objects.all()}
    sealed = {path.name for path in (stack.runtime.paths.var / "control/secrets/releases").glob("*.sealed")}
    assert files == sealed
    assert releases_retire(Stack.objects.get()) == []


def test_a_value_is_found_nowhere(stack: Scene, tmp_path: Path) -> None:
    """Of a setting with a password in it: in no row of any table, only in files of the portal's own account."""
    change(OLLAMA_URL=f"http://me:{MARKER}@models.site:11434")
    operation = run("stack.deploy")
    assert operation.state == State.SUCCEEDED
    assert run("stack.plan").state == State.SUCCEEDED
    with connection.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT t::text FROM "{table}" t')  # noqa: S608 - names of our own tables
            assert not [row for (row,) in cursor.fetchall() if MARKER in row], table
    assert LogLine.objects.filter(text__contains=MARKER).count() == 0
    assert AuditEntry.objects.filter(action="release.serves").exists()
    holding = [path for path in tmp_path.rglob("*") if path.is_file() and MARKER in path.read_text(errors="replace")]
    private = {path for path in holding if path.stat().st_mode & 0o077 == 0 or path.name == "state.json"}
    assert private == set(holding)
