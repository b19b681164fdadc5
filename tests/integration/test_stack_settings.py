"""Settings of a stack: shown masked, judged, kept for the next deploy; secrets rotated."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import pytest
from django.test import Client

from backups.process import Completed
from portal.core.models import AuditEntry
from portal.operations import reaper, worker
from portal.operations.errors import InputInvalid, OperationRefused
from portal.operations.models import LogLine, Operation, State, Step
from portal.operations.services import operation_start
from portal.stacks import rotation
from portal.stacks.pending import pending_get
from portal.stacks.selectors import stack_get_default
from portal.stacks.settings import services_replaced, setting_list, settings_change, settings_forget
from portal.stacks.variables import HIDDEN
from tests.support import portal_scene, portal_web
from tests.support.portal_scene import TARGET, Scene

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

scene = portal_scene.scene


def change(**values: str) -> list[str]:
    return settings_change(stack=stack_get_default(), values=values)


def test_a_change_waits_and_special_characters_survive(scene: Scene) -> None:
    address = "http://me:p$${x}'\"\\ü@gpu.local:11434"
    assert change(OLLAMA_URL=address, LOG_LEVEL="DEBUG") == ["LOG_LEVEL", "OLLAMA_URL"]
    assert pending_get("rag") == {"OLLAMA_URL": address, "LOG_LEVEL": "DEBUG"}
    shown = {row.variable.name: row for row in setting_list(stack_get_default())}
    assert shown["OLLAMA_URL"].entered == f"http://me:{HIDDEN}@gpu.local:11434"
    assert shown["CHAT_MODEL"].waits is None
    assert {"api", "ingest"} <= set(services_replaced(stack_get_default()))


def test_what_is_sent_back_as_it_was_shown_stays(scene: Scene) -> None:
    change(OLLAMA_URL="http://me:secret@gpu.local:11434")
    assert change(OLLAMA_URL=f"http://me:{HIDDEN}@gpu.local:11434", CHAT_MODEL="") == ["OLLAMA_URL"]
    assert pending_get("rag")["OLLAMA_URL"] == "http://me:secret@gpu.local:11434"
    with pytest.raises(InputInvalid) as refused:
        change(OLLAMA_URL=f"http://me:{HIDDEN}@elsewhere:11434")
    assert "OLLAMA_URL" in refused.value.fields


def test_taking_a_change_back_leaves_nothing_waiting(scene: Scene) -> None:
    change(LOG_LEVEL="DEBUG", CHAT_MODEL="llama3")
    assert change(LOG_LEVEL="") == ["CHAT_MODEL"]
    settings_forget(stack=stack_get_default())
    assert pending_get("rag") == {}


def test_one_bad_value_keeps_all_of_them_out(scene: Scene) -> None:
    with pytest.raises(InputInvalid) as refused:
        change(LOG_LEVEL="loud", CHAT_MODEL="llama3", UNKNOWN="x")
    assert list(refused.value.fields) == ["LOG_LEVEL"]
    assert pending_get("rag") == {}


def test_the_audit_log_learns_names_and_no_values(scene: Scene) -> None:
    change(OLLAMA_URL="http://me:marker-4711@gpu.local:11434")
    entry = AuditEntry.objects.get(action="stack.settings")
    assert entry.data == {"names": ["OLLAMA_URL"]}


def test_the_page_keeps_a_change_and_shows_no_secret(scene: Scene) -> None:
    operator = portal_web.clients()["operator"]
    fields = {"OLLAMA_URL": "http://me:marker-4711@gpu.local:11434", "CHAT_MODEL": "llama3"}
    answer = operator.post("/stack/settings/", fields, follow=True)
    text = answer.content.decode()
    assert "2 changes wait" in text
    assert "marker-4711" not in text
    assert operator.post("/stack/settings/", {"CHAT_MODEL": "two words"}).status_code == 422
    assert "1 change " not in operator.post("/stack/settings/forget/", follow=True).content.decode()
    assert pending_get("rag") == {}


# --- secrets


def rotate(name: str) -> Operation:
    operation = operation_start(kind="stack.rotate", target=TARGET, params={"secret": name})
    worker.execute(operation.pk)
    operation.refresh_from_db()
    return operation


@pytest.fixture
def token(scene: Scene) -> Path:
    file = scene.runtime.locate(scene.spec).secret("internal_token")
    file.write_text("marker-old\n")
    file.chmod(0o640)
    return file


def test_a_secret_gets_a_new_value_and_its_readers_start_anew(scene: Scene, token: Path) -> None:
    operation = rotate("internal_token")
    assert operation.state == State.SUCCEEDED
    fresh = token.read_text().strip()
    assert len(fresh) > 40
    assert token.stat().st_mode & 0o777 == 0o640
    assert not token.with_name("internal_token.next").exists()
    assert {name for verb, _, name in scene.runtime.calls if verb == "start"} == {"api", "ingest"}
    told = [*Step.objects.values_list("data", flat=True), *LogLine.objects.values_list("text", flat=True)]
    assert fresh not in str(told) + str(operation.result) + str(list(AuditEntry.objects.values()))


def test_the_database_is_told_first_and_never_the_password_itself(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = scene.runtime.locate(scene.spec).secret("postgres_password")
    file.write_text("marker-old\n")
    told = list[str]()

    def run(_spec: object, service: str, argv: list[str], *, timeout: float) -> Completed:
        assert file.read_text() == "marker-old\n"
        told.extend([service, *argv])
        return Completed("python", 0, "", "")

    monkeypatch.setattr(scene.runtime, "exec", run)
    assert rotate("postgres_password").state == State.SUCCEEDED
    fresh = file.read_text().strip()
    assert told[0] == "api"
    assert proves(told[-1], fresh)
    assert fresh not in " ".join(told)


def proves(verifier: str, password: str) -> bool:
    """Whether a verifier is that of a password, worked out as a server does (RFC 5802)."""
    rest, keys = verifier.removeprefix("SCRAM-SHA-256$").split("$")
    rounds, salt = rest.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(rounds))
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    return base64.b64decode(keys.split(":")[0]) == stored


def test_a_database_that_refuses_leaves_everything_as_it_was(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    file = scene.runtime.locate(scene.spec).secret("postgres_password")
    file.write_text("marker-old\n")
    refusal = Completed("python", 1, "", "connection refused\n")
    monkeypatch.setattr(scene.runtime, "exec", lambda *_, **__: refusal)
    operation = rotate("postgres_password")
    assert (operation.state, operation.error["code"]) == (State.FAILED, "rotation")
    assert file.read_text() == "marker-old\n"
    left = file.with_name("postgres_password.next").read_text()
    # The next one goes on with the same value: the database may know it.
    monkeypatch.setattr(scene.runtime, "exec", lambda *_, **__: Completed("python", rotation.REFUSED_STATUS, "", ""))
    assert rotate("postgres_password").state == State.SUCCEEDED
    assert file.read_text() == left


def test_a_worker_that_dies_after_the_exchange_does_not_make_another_value(
    scene: Scene, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Died

    with monkeypatch.context() as dying:
        dying.setattr(scene.runtime, "recreate", die)
        operation = operation_start(kind="stack.rotate", target=TARGET, params={"secret": "internal_token"})
        with pytest.raises(Died):
            worker.execute(operation.pk)
    value = token.read_text()
    assert value != "marker-old\n"
    assert reaper.reap() == 1
    worker.execute(operation.pk)
    operation.refresh_from_db()
    assert (operation.state, token.read_text()) == (State.SUCCEEDED, value)


@pytest.mark.parametrize("name", ["admin_password", "nonsense", "", "../control/secrets/django_secret_key"])
def test_what_cannot_be_rotated_is_refused(scene: Scene, name: str) -> None:
    with pytest.raises(OperationRefused, match="no such secret"):
        operation_start(kind="stack.rotate", target=TARGET, params={"secret": name})


def test_a_rotation_wants_the_name_typed(scene: Scene) -> None:
    operator: Client = portal_web.clients()["operator"]
    answer = operator.post("/stack/settings/rotate/", {"secret": "redis_password", "name": "redis"}, follow=True)
    assert "Type redis_password to rotate it" in answer.content.decode()
    assert not Operation.objects.filter(kind="stack.rotate").exists()
