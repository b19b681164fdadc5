"""What is pure about releases: what touches data, what a machine lacks, what of a file may be shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pytest_django import Settings

from portal.core.cipher import SealBroken
from portal.runtime.protocol import Action, Change, Plan
from portal.runtime.spec import StackSpec, load_stack
from portal.stacks import preflight, sealing, touching
from portal.stacks.diff import release_diff
from portal.stacks.models import Release, Stack
from portal.stacks.plans import compared
from portal.stacks.preflight import Machine
from portal.stacks.rollback import schema_obstacle

ROOT = Path(__file__).resolve().parents[2]
MARKER = "marker-8f41c2-value"


@pytest.fixture(scope="module")
def spec() -> StackSpec:
    return load_stack(ROOT / "compose" / "stack.yaml")


@pytest.fixture
def sealed(settings: Settings, tmp_path: Path) -> Path:
    settings.VAR_DIR = tmp_path
    return tmp_path


def plan(**actions: Action) -> Plan:
    return Plan(tuple(Change(name, action, "because") for name, action in actions.items()))


def images(**ids: str) -> dict[str, dict[str, str]]:
    return {name: {"reference": name, "id": found} for name, found in ids.items()}


def test_replacing_a_store_touches_data(spec: StackSpec) -> None:
    for store in ("postgres", "vectordb", "ollama"):
        (told,) = touching.reasons(spec, plan(**{store: Action.RECREATE}), {}, {}, [])
        assert store in told


def test_replacing_what_only_answers_touches_nothing(spec: StackSpec) -> None:
    same = images(api="sha256:1", frontend="sha256:2")
    changed = plan(api=Action.RECREATE, frontend=Action.RECREATE, postgres=Action.KEEP, nginx=Action.RECREATE)
    assert touching.reasons(spec, changed, same, same, ["LOG_LEVEL"]) == []


def test_another_image_of_what_writes_documents_touches_data(spec: StackSpec) -> None:
    (told,) = touching.reasons(spec, plan(api=Action.RECREATE), images(api="sha256:1"), images(api="sha256:2"), [])
    assert "another image" in told


def test_another_embedding_model_touches_data(spec: StackSpec) -> None:
    assert touching.reasons(spec, plan(), {}, {}, ["CHAT_MODEL"]) == []
    assert len(touching.reasons(spec, plan(), {}, {}, ["EMBED_MODEL"])) == 1


def test_a_service_that_is_removed_touches_data_only_when_it_was_deployed(spec: StackSpec) -> None:
    assert touching.reasons(spec, plan(mail=Action.REMOVE), {}, {}, []) == []
    assert touching.reasons(spec, plan(mail=Action.REMOVE), images(mail="sha256:1"), {}, []) == ["mail is removed"]


@pytest.mark.parametrize(
    ("reference", "major"),
    [
        ("postgres:18.4", 18),
        ("postgres:17", 17),
        ("registry.site:5000/library/postgres:16.2-alpine", 16),
        ("site/our-postgresql:18@sha256:abc", 18),
        ("postgres", None),
        ("postgres:latest", None),
        ("chromadb/chroma:1.5.9", None),
    ],
)
def test_the_major_version_is_read_from_the_name_of_an_image(reference: str, major: int | None) -> None:
    assert touching.major_of(reference) == major


@pytest.mark.parametrize(("wanted", "made_with", "blocked"), [(17, 18, True), (19, 18, True), (18, 18, False),
                                                              (None, 18, False), (18, None, False)])  # fmt: skip
def test_a_database_of_another_major_version_is_blocked(
    wanted: int | None, made_with: int | None, blocked: bool
) -> None:
    assert bool(touching.major_obstacle("postgres", wanted, made_with)) is blocked


def test_the_database_of_the_stack_is_found_by_its_volume(spec: StackSpec) -> None:
    assert touching.database_service(spec) == "postgres"
    assert touching.database_service(spec.derive(services=["frontend"])) is None


def test_what_a_machine_lacks_is_said_with_figures_and_a_remedy() -> None:
    full = Machine(disk_bytes=100 << 30, memory_bytes=8 << 30, gpu_mib=None)
    assert preflight.shortages(full, 1 << 30, ["ollama"]) == []
    poor = Machine(disk_bytes=5 << 20, memory_bytes=100 << 20, gpu_mib=100)
    found = preflight.shortages(poor, 300 << 20, ["ollama"])
    assert [problem.path for problem in found] == ["disk", "memory", "services.ollama"]
    assert "5 MiB" in found[0].message
    assert "300" in found[1].message
    assert all(problem.remedy for problem in found)


def test_memory_is_counted_for_what_is_new_and_what_runs_twice() -> None:
    used = {"api": 400, "postgres": 900, "frontend": None}
    changes = plan(api=Action.RECREATE, postgres=Action.RECREATE, nginx=Action.KEEP, frontend=Action.CREATE)
    assert preflight.memory_needed(changes, used, ["api", "frontend"]) == 400 + preflight.SERVICE_BYTES


def test_services_that_ask_for_a_gpu_are_found() -> None:
    device = {"deploy": {"resources": {"reservations": {"devices": [{"capabilities": ["gpu"], "count": 1}]}}}}
    text = json.dumps({"services": {"ollama": device, "api": {"deploy": {"resources": {}}}, "other": {"gpus": "all"}}})
    assert preflight.gpu_services(text) == ["ollama", "other"]


def test_an_outline_shows_names_and_no_values(sealed: Path) -> None:
    text = json.dumps(
        {
            "services": {
                "api": {
                    "image": "ragkeep/rag-api:0.1.0",
                    "command": ["serve", f"--with={MARKER}", "http://me:hidden-word@host/"],
                    "environment": {"TOKEN": MARKER, "EMPTY": ""},
                },
                "old": {"environment": [f"TOKEN={MARKER}"], "build": {"args": {"KEY": MARKER}}},
            },
            "configs": {"own": {"content": f"password = {MARKER}"}},
        }
    )
    shown = sealing.outline(text, {"CHAT_TOKEN": MARKER})
    assert MARKER not in shown
    assert "hidden-word" not in shown
    assert "--with=${CHAT_TOKEN}" in shown
    assert "image: ragkeep/rag-api:0.1.0" in shown
    assert "TOKEN" in shown


def test_an_outline_changes_with_a_value_and_only_then(sealed: Path) -> None:
    def shown(value: str) -> str:
        return sealing.outline(json.dumps({"services": {"api": {"environment": {"TOKEN": value}}}}), {})

    assert shown("one-long-value") == shown("one-long-value")
    assert shown("one-long-value") != shown("another-long-value")


def test_what_is_sealed_lies_in_a_file_for_its_owner_alone(sealed: Path) -> None:
    path = Path(sealing.seal("rag", 7, sealing.Sealed("text", {"TOKEN": MARKER})))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert sealing.unseal(str(path), "rag", 7) == sealing.Sealed("text", {"TOKEN": MARKER})
    assert MARKER.encode() not in path.read_bytes()
    with pytest.raises(SealBroken):
        sealing.unseal(str(path), "rag", 8)


def test_digests_need_the_key_of_the_installation(sealed: Path, settings: Settings, tmp_path: Path) -> None:
    first = sealing.digests({"TOKEN": MARKER, "UNSET": ""})
    assert sealing.digests({"TOKEN": MARKER}) == first
    assert list(first) == ["TOKEN"]
    settings.VAR_DIR = tmp_path / "elsewhere"
    assert sealing.digests({"TOKEN": MARKER}) != first


def test_what_differs_is_named() -> None:
    assert compared({"a": "1", "b": "1", "c": "1"}, {"b": "2", "c": "1", "d": "1"}) == {
        "a": "removed",
        "b": "changed",
        "d": "added",
    }


@pytest.mark.parametrize(
    ("code", "now", "blocked"),
    [
        ("0004", {"database": "0005", "oldest": "0005"}, True),
        ("0004", {"database": "0005", "oldest": "0003"}, False),
        ("0004", {"database": "0005"}, True),
        ("0005", {"database": "0005", "oldest": "0005"}, False),
        ("0006", {"database": "0005", "oldest": "0005"}, False),
        ("", {"database": "0005", "oldest": "0005"}, False),
        ("0004", {}, False),
    ],
)
def test_code_that_does_not_know_the_schema_is_not_gone_back_to(code: str, now: dict[str, str], blocked: bool) -> None:
    release = Release(number=3, schema={"code": code} if code else {})
    assert bool(schema_obstacle(release, now)) is blocked


def release(number: int, **fields: object) -> Release:
    return Release(stack=Stack(name="rag"), number=number, **fields)


def test_two_releases_differ_in_settings_images_files_and_lines() -> None:
    before = release(
        1,
        outline="services:\n  api: 1\n",
        environment={"LOG_LEVEL": "a"},
        images=images(api="sha256:1", nginx="sha256:9"),
        contents={"api": {}, "nginx": {"/etc/nginx": "1"}, "old": {}},
    )
    after = release(
        2,
        outline="services:\n  api: 2\n",
        environment={"LOG_LEVEL": "b"},
        images=images(api="sha256:2", nginx="sha256:9"),
        contents={"api": {}, "nginx": {"/etc/nginx": "2"}, "new": {}},
    )
    found = release_diff(before, after)
    assert found.settings == {"LOG_LEVEL": "changed"}
    assert found.services == {"old": "removed", "new": "added"}
    assert list(found.images) == ["api"]
    assert found.files == {"nginx": {"/etc/nginx": "changed"}}
    assert [line for line in found.lines if line.startswith(("-  ", "+  "))] == ["-  api: 1", "+  api: 2"]
    assert release_diff(before, before).is_empty
