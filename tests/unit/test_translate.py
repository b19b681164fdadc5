"""From Compose's view of a service to this host's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from portal.runtime.errors import StackFileError
from portal.runtime.paths import CHECKOUT, RuntimePaths
from portal.runtime.spec import StackSpec, load_stack, parse_stack
from portal.runtime.state import StackState, locate, read_state, settle, write_state
from portal.runtime.translate import LocalService, active, interpolate, localize

VAR = Path("/v")
PATHS = RuntimePaths(VAR)


def tool(name: str) -> Path | None:
    return None if name == "missing" else Path("/bin") / name


@pytest.fixture
def rag() -> StackSpec:
    return load_stack(CHECKOUT / "compose" / "stack.yaml").derive(
        base_port=9000, listen="0.0.0.0", aliases={"portal:8000": "127.0.0.1:9002"}
    )


@pytest.fixture
def local(rag: StackSpec) -> Callable[[str], LocalService]:
    def find(name: str) -> LocalService:
        place = locate(rag, settle(rag, None), PATHS)
        return localize(rag, rag.services[name], place, tool=tool, base={"PATH": "/bin"}, cwd=CHECKOUT)

    return find


def test_addresses_become_loopback_ports(local: Callable[[str], LocalService]) -> None:
    env = local("api").env
    assert env["POSTGRES_URL"] == "postgresql://rag@127.0.0.1:9016/rag"
    assert env["REDIS_URL"] == "redis://127.0.0.1:9015/0"
    assert env["VECTORDB_URL"] == "http://127.0.0.1:9013"
    assert env["OLLAMA_URL"] == "http://127.0.0.1:9014"


def test_secrets_and_volumes_become_files(local: Callable[[str], LocalService]) -> None:
    env = local("api").env
    assert env["POSTGRES_PASSWORD_FILE"] == "/v/stacks/rag/secrets/postgres_password"
    assert env["DOCUMENTS_DIR"] == "/v/stacks/rag/volumes/documents/live"
    assert local("api").folders[:2] == ("/v/stacks/rag/volumes/documents/live", "/v/stacks/rag/volumes/index/live")


def test_a_command_keeps_its_words_but_the_port_and_address(local: Callable[[str], LocalService]) -> None:
    argv = local("api").argv
    assert argv[:4] == ("/bin/python", "-m", "uvicorn", "rag_api.app:create_app")
    assert argv[argv.index("--port") + 1] == "9010"
    assert argv[argv.index("--host") + 1] == "127.0.0.1"
    assert argv[argv.index("--timeout-graceful-shutdown") + 1] == "5"


def test_idle_connections_are_closed_by_nginx_before_the_api_does(local: Callable[[str], LocalService]) -> None:
    argv = local("api").argv
    template = (CHECKOUT / "config" / "nginx" / "nginx.conf.template").read_text()
    kept = int(template.split("keepalive_timeout ")[1].split("s;")[0])
    assert kept < int(argv[argv.index("--timeout-keep-alive") + 1])


def test_only_published_services_listen_for_others(local: Callable[[str], LocalService]) -> None:
    env = local("nginx").env
    assert env["RAGKEEP_CHAT_LISTEN"] == "0.0.0.0:9000"
    assert env["RAGKEEP_PORTAL_LISTEN"] == "0.0.0.0:9001"
    assert env["RAGKEEP_PORTAL"] == "127.0.0.1:9002"
    assert local("nginx").probe.host == "127.0.0.1"
    for name in ("postgres", "redis", "vectordb", "ollama", "api", "ingest", "frontend"):
        assert "0.0.0.0" not in repr(local(name)), name


def test_mounted_files_are_those_of_the_checkout(local: Callable[[str], LocalService]) -> None:
    assert local("nginx").env["NGINX_ENVSUBST_TEMPLATE_DIR"] == str(CHECKOUT / "config" / "nginx")
    assert local("nginx").env["RAGKEEP_RUN"].startswith("/v/stacks/rag/run/nginx/")
    assert local("nginx").env["RAGKEEP_TRANSPORT"] == str(CHECKOUT / "config" / "nginx" / "plain.conf")


def test_the_containers_words_can_be_part_of_the_local_command(local: Callable[[str], LocalService]) -> None:
    argv = local("postgres").argv
    assert argv[:3] == ("/bin/python", "-m", "portal.runtime.launchers.postgres")
    assert argv[3:6] == ("--port", "9016", "--")
    assert "max_connections=100" in argv
    assert local("vectordb").argv == (
        "/bin/chroma", "run", "--path", "/v/stacks/rag/volumes/vectors/live", "--host", "127.0.0.1", "--port", "9013",
    )  # fmt: skip


def test_preparing_commands_and_probes_are_translated(local: Callable[[str], LocalService]) -> None:
    assert local("vectordb").init == (
        ("/bin/python", "-m", "backups", "prepare-vectors", "/v/stacks/rag/volumes/vectors/live"),
    )
    assert local("postgres").probe.command == ("/bin/pg_isready", "-h", "127.0.0.1", "--port", "9016")
    assert (local("api").probe.port, local("api").probe.http) == (9010, "/ready")


def test_an_external_model_server_replaces_the_service(rag: StackSpec) -> None:
    outside = rag.derive(settings={"OLLAMA_URL": "http://gpu.example:11434"})
    place = locate(outside, settle(outside, None), PATHS)
    assert "ollama" not in active(outside, place.settings)
    assert "ollama" in active(rag, {})
    api = localize(outside, outside.services["api"], place, tool=tool, base={}, cwd=CHECKOUT)
    assert api.env["OLLAMA_URL"] == "http://gpu.example:11434"


def test_no_secret_is_in_what_a_process_list_shows(local: Callable[[str], LocalService]) -> None:
    for name in ("postgres", "redis", "api"):
        assert "password" not in " ".join(local(name).argv).lower()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("${SET}", "value"),
        ("${SET:-other}", "value"),
        ("${EMPTY:-other}", "other"),
        ("${UNSET:-}", ""),
        ("${UNSET:-http://$$host:1}", "http://$host:1"),
        ("a$$b", "a$b"),
    ],
)
def test_variables_follow_compose(text: str, expected: str) -> None:
    assert interpolate(text, {"SET": "value", "EMPTY": ""}, "here") == expected


def test_a_variable_without_value_is_named() -> None:
    with pytest.raises(StackFileError, match=r"services.a.environment.B: the variable UNSET has no value"):
        interpolate("${UNSET}", {}, "services.a.environment.B")


def test_a_missing_program_is_named() -> None:
    tree = {"services": {"a": {"command": ["missing"]}}}
    spec = parse_stack(tree, Path("s.yaml"), project="p")
    with pytest.raises(StackFileError, match=r"services.a.command\[0\]: the program missing is not installed"):
        localize(spec, spec.services["a"], locate(spec, settle(spec, None), PATHS), tool=tool, base={}, cwd=CHECKOUT)


def test_names_inside_longer_words_are_left_alone() -> None:
    environment = {
        "A": "http://my-store:8001/x", "B": "store:80011", "C": "store.example:8001", "D": "restore:8001",
        "E": "/database",
    }  # fmt: skip
    services = {
        "store": {"command": ["x"], "x-ragkeep": {"ports": {8001: 0}}},
        "a": {"command": ["x"], "environment": environment, "volumes": ["v:/data"]},
    }
    spec = parse_stack({"services": services, "volumes": {"v": None}}, Path("s.yaml"), project="p")
    place = locate(spec, settle(spec.derive(base_port=9000), None), PATHS)
    found = localize(spec, spec.services["a"], place, tool=tool, base={}, cwd=CHECKOUT)
    assert found.env == environment


def test_what_is_left_open_stays_as_it_was(rag: StackSpec, tmp_path: Path) -> None:
    write_state(tmp_path, settle(rag.derive(settings={"CHAT_MODEL": "m"}), None))
    again = settle(load_stack(rag.file), read_state(tmp_path))
    assert (again.base_port, again.listen) == (9000, "0.0.0.0")
    assert again.settings == {"CHAT_MODEL": "m"}
    assert again.ports["api"] == {"8000": 9010}
    assert again.aliases == {"portal:8000": "127.0.0.1:9002"}


def test_a_stack_without_base_port_gets_free_ones_and_keeps_them() -> None:
    spec = load_stack(CHECKOUT / "compose" / "stack.yaml", project="drill-1")
    first = settle(spec, None)
    ports = [port for inner in first.ports.values() for port in inner.values()]
    assert len(set(ports)) == len(ports)
    assert settle(spec, first) == first
    assert settle(spec.derive(services=["api"]), first).ports == first.ports


def test_a_digest_changes_only_with_the_process(rag: StackSpec, local: Callable[[str], LocalService]) -> None:
    assert local("api").digest == local("api").digest
    assert local("api").digest != local("ingest").digest


def test_a_missing_state_is_no_error(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    assert settle(parse_stack({"services": {"a": {"command": ["x"]}}}, Path("s"), project="p"), None) == StackState(
        ports={"a": {}}
    )
