"""The Compose runtime's commands and its rendered file, to the letter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from portal.runtime.compose import ComposeRuntime, argv, contents
from portal.runtime.compose.client import Docker
from portal.runtime.compose.containers import CONTENTS
from portal.runtime.compose.engine import Engine
from portal.runtime.compose.publishing import chosen, published
from portal.runtime.compose.render import dump, image, render, replicas, scope
from portal.runtime.errors import ComposeMissingError, EngineGoneError
from portal.runtime.paths import RuntimePaths
from portal.runtime.translate import Location
from tests.support import tiny_stack

BASE = ["docker", "compose", "--project-name", "p", "--ansi", "never", "--progress", "plain"]
GIVEN = ["--env-file", "/dev/null"]


def test_commands_on_files_name_project_folder_and_files_and_no_env_file() -> None:
    found = argv.model("p", [Path("/s/stack.yaml"), Path("/s/offline.yaml")], Path("/s"))
    files = ["--file", "/s/stack.yaml", "--file", "/s/offline.yaml"]
    assert found == [*BASE, *GIVEN, "--project-directory", "/s", *files, "config", "--format", "json"]
    stdin = [*BASE, *GIVEN, "--project-directory", "/s", "--file", "-"]
    assert argv.hashes("p", Path("/s")) == [*stdin, "config", "--hash", "*"]
    assert argv.pull("p", Path("/s"), ["a"]) == [*stdin, "pull", "--quiet", "a"]
    assert argv.build("p", Path("/s"), ["a", "b"]) == [*stdin, "build", "a", "b"]


def test_up_leaves_nothing_to_composes_own_judgement() -> None:
    first = [*BASE, *GIVEN, "--file", "/r.json", "up", "--detach", "--no-deps", "--no-build", "--pull", "never"]
    assert argv.up("p", Path("/r.json"), ["a", "b"], recreate=True) == [*first, "--force-recreate", "a", "b"]
    assert argv.up("p", Path("/r.json"), ["a"], recreate=False) == [*first, "--no-recreate", "a"]
    beside = argv.up("p", Path("/r.json"), ["a"], recreate=False, counts={"a": 2})
    assert beside == [*first, "--no-recreate", "--scale", "a=2", "a"]


def test_a_missing_compose_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tiny_stack.tiny("p", tmp_path)
    runtime = ComposeRuntime(RuntimePaths(tmp_path / "var"), Docker("unix:///nowhere", tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ComposeMissingError):
        runtime.plan(spec)
    (problem,) = runtime.validate(spec)
    assert "install Docker with its Compose plugin" in problem.remedy


def test_what_ends_a_project_needs_no_file() -> None:
    assert argv.down("p", volumes=False) == [*BASE, "down", "--remove-orphans"]
    assert argv.down("p", volumes=True) == [*BASE, "down", "--remove-orphans", "--volumes"]
    assert argv.stop(["1", "2"]) == ["docker", "stop", "1", "2"]
    assert argv.rename("1", "a") == ["docker", "rename", "1", "a"]
    assert argv.remove(["1"]) == ["docker", "rm", "--force", "1"]


def test_a_command_inside_a_container() -> None:
    assert argv.execute("1", ["ls", "-l"]) == ["docker", "exec", "1", "ls", "-l"]


def test_a_command_sees_the_settings_and_nothing_else_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SECRET_KEY", "geheim")
    docker = Docker("unix:///d.sock", Path("/c"))
    found = docker.environment({"A": "1", "DOCKER_HOST": "tcp://elsewhere"})
    assert set(found) == {"A", "PATH", "DOCKER_HOST", "DOCKER_CONFIG"}
    assert found["DOCKER_HOST"] == "unix:///d.sock"


def test_docker_is_found_where_the_environment_says() -> None:
    assert Docker.discover({}) == Docker("unix:///var/run/docker.sock", Path.home() / ".docker")
    given = {"DOCKER_HOST": "tcp://h:1", "DOCKER_CONFIG": "/c"}
    assert Docker.discover(given) == Docker("tcp://h:1", Path("/c"))


@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1", "ssh://host"])
def test_an_engine_that_does_not_answer_is_named(host: str) -> None:
    with pytest.raises(EngineGoneError, match=f"no Docker Engine answers at {host}: .") as gone:
        Engine(host).get("/_ping")
    assert "DOCKER_HOST" in gone.value.remedy


# --- the rendered file


def location(listen: str = "127.0.0.1") -> Location:
    return Location(
        project="p",
        root=Path("/var/p"),
        volume_root=Path("/var/p/volumes"),
        listen=listen,
        ports={"front": {8003: 20003}, "middle": {8002: 20002}, "store": {8001: 20001}},
        settings={},
        aliases={},
    )


def model(**services: dict[str, Any]) -> dict[str, Any]:
    """What Compose makes of the stack of three, as far as it matters here."""
    healthy = {"condition": "service_healthy", "required": True}
    three = {
        "front": {"image": "i", "depends_on": {"middle": healthy}},
        "middle": {"image": "i", "depends_on": {"store": healthy}},
        "store": {"image": "i"},
    }
    return {"name": "tiny", "services": {**three, **services}}


ENDS = {"condition": "service_completed_successfully", "required": True}


def test_what_a_service_needs_and_only_containers_have_runs_too() -> None:
    found = model(store={"image": "i", "depends_on": {"prepare": ENDS}}, prepare={"image": "i"}, idle={"image": "i"})
    chosen = scope(found, tiny_stack.tiny().services, [], {"prepare": "Preparation"})
    assert list(chosen.services) == ["front", "middle", "store", "prepare"]
    assert chosen.services["prepare"].title == "Preparation"
    assert chosen.services["store"].depends_on == ("prepare",)
    assert chosen.services["store"].title == "Store"
    assert chosen.once == {"prepare"}


def test_a_service_without_replicas_does_not_run() -> None:
    found = model(store={"image": "i", "deploy": {"replicas": 0}})
    chosen = scope(found, tiny_stack.tiny().services, [], {})
    assert list(chosen.services) == ["front", "middle"]
    assert chosen.services["middle"].depends_on == ()


def test_a_part_of_a_stack_does_not_bring_back_the_rest() -> None:
    spec = tiny_stack.tiny().derive(services=["middle"])
    chosen = scope(model(), spec.services, ["front", "store"], {})
    assert list(chosen.services) == ["middle"]
    rendered = render(model(), chosen, location(), secrets={}, contents={})
    assert rendered["services"] == {"middle": {"image": "i"}}
    assert rendered["name"] == "p"


def test_ports_are_published_where_the_stack_is() -> None:
    ports = [
        {"target": 8003, "published": "8080", "host_ip": "127.0.0.1", "protocol": "tcp"},
        {"target": 9999, "published": "9999", "protocol": "tcp"},
        {"target": 8003, "protocol": "udp"},
    ]
    found = model(front={"image": "i", "ports": ports})
    chosen_services = scope(found, tiny_stack.tiny().services, [], {})
    place = location(listen="10.0.0.1")
    front = render(found, chosen_services, place, secrets={}, contents={})["services"]["front"]
    assert front["ports"] == [
        {"target": 8003, "published": "20003", "host_ip": "127.0.0.1", "protocol": "tcp"},
        {"target": 9999, "published": "9999", "host_ip": "10.0.0.1", "protocol": "tcp"},
        {"target": 8003, "protocol": "udp"},
    ]
    assert published(front) == {8003: 20003, 9999: 9999}
    assert ports[0]["published"] == "8080", "the model itself stays as it is"
    kept = {"front": frozenset({8003})}
    front = render(found, chosen_services, place, secrets={}, contents={}, chosen_ports=kept)["services"]["front"]
    assert published(front) == {8003: 8080, 9999: 9999}


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ("${LISTEN:-127.0.0.1}:${PORT:-8080}:80", {80}),
        ("${LISTEN:-127.0.0.1}:${PORT:-8080}:80/tcp", {80}),
        ({"target": 80, "published": "${PORT}"}, {80}),
        ("${LISTEN:-127.0.0.1}:8080:80", set()),
        ("127.0.0.1:${OTHER:-8080}:80", set()),
        ("${EMPTY:-8080}:80", set()),
        ("8080:80", set()),
        (80, set()),
    ],
)
def test_a_port_that_a_setting_chose_is_known(entry: object, found: set[int]) -> None:
    settings = {"PORT": "443", "LISTEN": "0.0.0.0", "EMPTY": ""}
    assert chosen([{"services": {"a": {"ports": [entry]}}}, {"services": {"a": None}}], settings) == {"a": found}


def test_secrets_contents_and_niceness_are_written_into_the_file() -> None:
    found = {**model(), "secrets": {"key": {"environment": "KEY"}, "own": {"file": "/old/own"}}}
    chosen = scope(found, tiny_stack.tiny().services, [], {})
    rendered = render(
        found, chosen, location(), secrets={"key": Path("/new/key")}, contents={"store": "abc"}, niceness=10
    )
    assert rendered["secrets"] == {"key": {"file": "/new/key"}, "own": {"file": "/old/own"}}
    assert rendered["services"]["store"]["labels"] == {CONTENTS: "abc"}
    assert "labels" not in rendered["services"]["front"]
    assert rendered["services"]["front"]["cpu_shares"] == 109


@pytest.mark.parametrize(
    "text", ["1e3", "0o17", "yes", "22:22", "$$HOME", "ü \U0001f600", "a\u2028b\x7f\x85c", "\"'\\\n"]
)
def test_texts_come_back_as_they_were(text: str) -> None:
    tree = {"services": {"a": {"environment": {"A": text}}}}
    assert json.loads(dump(tree)) == tree
    assert yaml.safe_load(dump(tree)) == tree


def test_replicas_and_images_have_composes_defaults() -> None:
    assert [replicas({}), replicas({"scale": 2}), replicas({"deploy": {"replicas": 0}})] == [1, 2, 0]
    assert [image("p", "a", {}), image("p", "a", {"image": "i:1"})] == ["p-a", "i:1"]


# --- contents


def test_configuration_is_told_from_data(tmp_path: Path) -> None:
    (tmp_path / "one.conf").write_text("1")
    (tmp_path / "folder").mkdir()
    mounts = [
        {"type": "bind", "source": str(tmp_path / "one.conf"), "target": "/one"},
        {"type": "bind", "source": str(tmp_path / "folder"), "target": "/conf", "read_only": True},
        {"type": "bind", "source": str(tmp_path / "folder"), "target": "/data"},
        {"type": "volume", "source": "v", "target": "/volume"},
    ]
    service = {"volumes": mounts, "secrets": [{"source": "key"}], "configs": [{"source": "a"}, {"source": "b"}]}
    known = {"secrets": {"key": {"file": "/old"}}, "configs": {"a": {"file": "/a"}, "b": {"content": "text"}}}
    assert contents.mounted(service, known, {"key": Path("/new")}) == {
        "/one": tmp_path / "one.conf",
        "/conf": tmp_path / "folder",
        "config a": Path("/a"),
        "config b": "text",
        "secret key": Path("/new"),
    }


def test_a_service_that_sets_the_label_watches_its_files_itself() -> None:
    mounts = [{"type": "bind", "source": "/source", "target": "/app", "read_only": True}]
    service = {"volumes": mounts, "labels": {CONTENTS: "watched"}}
    assert contents.mounted(service, {}, {}) == {}
    assert contents.watched_by_itself(service) == "watched"
    assert contents.watched_by_itself({}) == ""


def test_a_digest_changes_with_contents_names_and_key_alone(tmp_path: Path) -> None:
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "a").write_text("1")

    def now(key: bytes = b"k") -> str:
        return contents.digests({"/conf": folder}, key)["/conf"]

    first = now()
    (folder / "a").touch()
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "a.pyc").write_text("made by a reader")
    assert now() == first
    assert now(b"other") != first
    (folder / "a").rename(folder / "b")
    assert now() != first
    (folder / "b").rename(folder / "a")
    (folder / "a").write_text("2")
    assert now() != first
    assert contents.combined({}) == ""
    assert contents.combined({"/conf": first}) != contents.combined({"/conf": now()})


def test_a_stack_without_a_key_gets_a_new_one_each_time(tmp_path: Path) -> None:
    assert contents.key(tmp_path / "none") != contents.key(tmp_path / "none")
    (tmp_path / "key").write_bytes(b"kept")
    assert contents.key(tmp_path / "key") == b"kept"


def test_ranges_of_ports_are_left_to_docker() -> None:
    assert published({"ports": [{"target": 1, "published": "1-2"}]}) == {}
