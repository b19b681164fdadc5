"""The stack file: what is refused, with which words, and what ours promises."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from portal.runtime.errors import StackFileError, UnknownServiceError
from portal.runtime.paths import CHECKOUT, RuntimePaths
from portal.runtime.spec import layers, load_stack, parse_stack
from tests.support import tiny_stack

STACK = CHECKOUT / "compose" / "stack.yaml"


def change(path: str, value: object) -> dict[str, Any]:
    """The stack of three with one place changed; `path` as in an error message, without indices."""
    tree: Any = tiny_stack.tree()
    *parents, last = path.split(".")
    node = tree
    for key in parents:
        node = node.setdefault(int(key) if key.isdigit() else key, {})
    node[last] = value
    return dict(tree)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("services", {}, "services: expected at least one service"),
        ("services", [1], "services: expected a mapping, found a list"),
        ("services.store", "x", "services.store: expected a mapping, found 'x'"),
        ("services.store.privileged", True, "services.store.privileged: unknown key"),
        ("services.store.command", "python -m x", "services.store.command: expected a list of words, found one text"),
        ("services.store.command", [["a"]], "services.store.command[0]: expected text or a number, found a list"),
        ("services.store.command", [], "services.store: expected a command"),
        ("services.store.environment", ["A=1"], "services.store.environment: expected a mapping, found a list"),
        ("services.store.environment", {"A": None}, "services.store.environment.A: expected text or a number"),
        ("services.store.secrets", ["key"], "services.store.secrets[0]: no secret 'key'"),
        ("services.store.volumes", ["data:/data"], "services.store.volumes[0]: no volume 'data'"),
        ("services.store.volumes", ["data"], "services.store.volumes[0]: expected volume:/path"),
        ("services.store.volumes", ["data:here"], "services.store.volumes[0]: expected an absolute path"),
        ("services.store.depends_on", {"gone": {}}, "services.store.depends_on.gone.condition: expected one of"),
        ("services.store.depends_on", ["gone"], "services.store.depends_on.gone: expected another service"),
        ("services.store.depends_on", ["store"], "services.store.depends_on.store: expected another service"),
        ("services.store.depends_on", ["front"], "depend on each other in a circle"),
        ("services.store.stop_signal", "SIGHUP", "services.store.stop_signal: expected one of SIGINT"),
        ("services.store.stop_grace_period", "1m", "services.store.stop_grace_period: expected whole seconds"),
        ("services.store.x-ragkeep.ports", {"http": 1}, "services.store.x-ragkeep.ports.http: expected the port"),
        ("services.store.x-ragkeep.ports", {8001: "1"}, "services.store.x-ragkeep.ports.8001: expected a whole number"),
        (
            "services.store.x-ragkeep.ports",
            {8001: 1},
            "services.store.x-ragkeep.ports.8001: distance 1 is already used",
        ),
        ("services.store.x-ragkeep.ready", {}, "services.store.x-ragkeep.ready: expected exactly one of http, tcp"),
        ("services.store.x-ragkeep.ready", {"tcp": 9}, "services.store.x-ragkeep.ready: port 9 is not under"),
        ("services.store.x-ragkeep.once", "yes", "services.store.x-ragkeep.once: expected true or false, found 'yes'"),
        ("services.store.x-ragkeep.retry", 3, "services.store.x-ragkeep.retry: unknown key"),
        ("volumes.data", {"x-ragkeep": {"source": "floppy"}}, "volumes.data.x-ragkeep.source: expected one of chroma"),
        ("serivces", {}, "serivces: unknown key"),
    ],
)
def test_an_error_names_its_place(path: str, value: object, message: str) -> None:
    with pytest.raises(StackFileError) as error:
        parse_stack(change(path, value), Path("stack.yaml"), project="tiny")
    assert message in str(error.value)
    assert error.value.remedy


def test_files_that_are_not_there_or_not_yaml(tmp_path: Path) -> None:
    with pytest.raises(StackFileError, match="cannot be read"):
        load_stack(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("services:\n  a: [1\n  b: 2\n")
    with pytest.raises(StackFileError, match=r"broken.yaml:3: is not YAML"):
        load_stack(broken)


def test_layers_start_what_is_needed_first() -> None:
    assert layers(tiny_stack.tiny().services) == [["store"], ["middle"], ["front"]]


def test_a_derived_stack_knows_only_its_services() -> None:
    drill = tiny_stack.tiny().derive(project="drill-1", services=["middle", "store"])
    assert drill.project == "drill-1"
    assert set(drill.services) == {"middle", "store"}
    with pytest.raises(UnknownServiceError, match="no service gone"):
        tiny_stack.tiny().derive(services=["gone"])


def test_what_runs_once_is_for_containers_only() -> None:
    tree = change("services.front.depends_on", {"migrate": {"condition": "service_completed_successfully"}})
    tree["services"]["migrate"] = {"command": ["python"], "x-ragkeep": {"once": True}}
    spec = parse_stack(tree, Path("stack.yaml"), project="tiny")
    assert spec.once == ("migrate",)
    assert set(spec.services) == {"front", "middle", "store"}
    assert spec.services["front"].depends_on == ()


# --- our own files


def test_the_stack_has_the_services_of_the_design() -> None:
    spec = load_stack(STACK)
    assert spec.project == "rag"
    assert set(spec.services) == {"nginx", "api", "ingest", "frontend", "vectordb", "ollama", "redis", "postgres"}
    assert {source for source in spec.volumes.values() if source} == {"documents", "chroma", "ollama", "postgres"}


def test_the_control_plane_is_valid_too() -> None:
    control = load_stack(RuntimePaths(Path("/nowhere")).control_file)
    assert set(control.services) == {"postgres", "valkey", "web", "worker", "beat"}
    offsets = [offset for service in control.services.values() for offset in service.ports.values()]
    stack = [offset for service in load_stack(STACK).services.values() for offset in service.ports.values()]
    assert not set(offsets) & set(stack)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(STACK.read_text())
    return tree


def test_every_container_is_hardened(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), name
        assert set(service["deploy"]["resources"]["limits"]) == {"memory", "cpus", "pids"}, name
        assert ("test" in service["healthcheck"]) != service["x-ragkeep"].get("once", False), name
        assert service["logging"]["options"]["max-size"], name


def test_images_have_exact_tags_and_only_the_entrance_is_published(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        tag = service["image"].rpartition(":")[2]
        assert re.match(r"\d+\.\d+", tag), name
        assert ("ports" in service) == (name == "nginx"), name
        if "build" in service:
            assert service["build"]["target"] == "production", name


def test_every_image_of_others_can_be_replaced(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert ("build" in service) != bool(re.fullmatch(r"\$\{[A-Z]+_IMAGE:-[^}]+\}", service["image"])), name


def test_data_services_cannot_be_reached_from_outside(compose: dict[str, Any]) -> None:
    assert compose["networks"]["backend"] == compose["networks"]["front"] == {"internal": True}
    for name, service in compose["services"].items():
        assert ("edge" in service["networks"]) == (name == "nginx"), name
        assert ("outlet" in service["networks"]) == (name == "ollama"), name
    for name in ("postgres", "redis", "vectordb", "ingest"):
        assert compose["services"][name]["networks"] == ["backend"], name


def test_secrets_are_files(compose: dict[str, Any]) -> None:
    assert all(set(secret) == {"file"} for secret in compose["secrets"].values())
    for service in compose["services"].values():
        for key in service.get("environment", {}):
            assert "PASSWORD" not in key or key.endswith("_FILE")


def test_what_is_said_of_instances_names_services_of_the_stack(compose: dict[str, Any]) -> None:
    services = compose["services"]
    spec = parse_stack(
        {"name": "rag", "services": services, "volumes": compose["volumes"], "secrets": compose["secrets"]}, Path("x")
    )
    assert [name for name, service in spec.services.items() if service.start_first] == ["api", "frontend"]
    assert all(spec.services[name].single for name in ("postgres", "redis", "vectordb", "ingest", "nginx"))
    wrong = {**services["nginx"], "x-ragkeep": {**services["nginx"]["x-ragkeep"], "balances": {"api": 1}}}
    with pytest.raises(StackFileError, match=r"nginx\.x-ragkeep\.balances\.api: expected another service"):
        parse_stack(
            {
                "name": "rag",
                "services": {**services, "nginx": wrong},
                "volumes": compose["volumes"],
                "secrets": compose["secrets"],
            },
            Path("x"),
        )


def test_the_api_believes_nginx_who_asks(compose: dict[str, Any]) -> None:
    words = compose["services"]["api"]["command"]
    assert words[words.index("--forwarded-allow-ips") + 1] == "*"
    # Which is safe as long as nothing but nginx brings anybody there.
    assert not compose["services"]["api"].get("ports")
