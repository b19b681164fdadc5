"""The pure parts of an installation in containers: what is remembered, what an agent is given, what is copied."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from config import chosen
from config.chosen import Chosen, read_chosen, wants_containers, write_chosen
from config.cli import containers, up
from config.cli.containers_up import Wanted, installation_for
from config.cli.output import UserError
from portal.operations.errors import OperationFailed
from portal.runtime.compose.beside import Beside, Bind, create
from portal.runtime.compose.client import Docker
from portal.runtime.compose.engine import Engine
from portal.runtime.compose.files import place_files, stack_files
from portal.runtime.compose.location import Joined, Linked
from portal.runtime.spec import load_stack
from portal.runtime.state import StackState, write_state
from portal.runtime.translate import Location
from portal.vaults.agents import binds, container_of, demand_own_work

REPO = Path(__file__).resolve().parents[2]
VAR = Path("/srv/ragkeep")


# What is remembered


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["up"], False),
        (["up", "--runtime", "compose"], True),
        (["up", "--runtime=compose"], True),
        (["up", "--runtime", "embedded"], False),
        (["dev"], True),
        (["prod", "--port", "9000"], True),
        (["backup"], False),
        ([], False),
    ],
)
def test_a_command_line_is_about_containers_or_not(tmp_path: Path, words: list[str], wanted: bool) -> None:
    assert wants_containers(tmp_path, words) is wanted


def test_the_choice_is_remembered_for_every_verb(tmp_path: Path) -> None:
    made = Chosen(chosen.COMPOSE, "two", chosen.DEVELOPMENT, True, ("offline.yaml", "linked.yaml"))
    write_chosen(tmp_path, made)
    assert read_chosen(tmp_path) == made
    assert wants_containers(tmp_path, ["backup"])
    assert (made.portal_project, Chosen().portal_project) == ("two-portal", "ragkeep-portal")


def test_a_damaged_choice_is_none(tmp_path: Path) -> None:
    write_chosen(tmp_path, Chosen())
    (tmp_path / chosen.FILE).write_text("{")
    assert read_chosen(tmp_path) is None


# What a machine must have


def test_without_docker_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="docker is not installed"):
        containers.demand_docker(Docker("unix:///nowhere", tmp_path))


def docker_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> Docker:
    """A `docker` whose every command ends with that status, and no engine."""
    program = tmp_path / "docker"
    program.write_text(f"#!/bin/sh\nexit {status}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return Docker(f"unix://{tmp_path / 'docker.sock'}", tmp_path)


def test_without_compose_one_is_told_which(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no compose command") as refused:
        containers.demand_docker(docker_that(tmp_path, monkeypatch, 1))
    assert "1.x will not do" in refused.value.remedy


def test_an_engine_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no Docker Engine answers at unix://") as refused:
        containers.demand_docker(docker_that(tmp_path, monkeypatch, 0))
    assert refused.value.code == "engine_gone"
    assert "start Docker" in refused.value.remedy


def test_an_engine_that_may_not_be_used_says_who_may(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Engine, "_connection", lambda _: SimpleNamespace(request=denied, close=lambda: None))
    with pytest.raises(UserError, match="Permission denied") as refused:
        containers.demand_docker(docker_that(tmp_path, monkeypatch, 0))
    assert "group docker" in refused.value.remedy


def test_an_engine_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Engine, "get", lambda *_: {})
    docker = docker_that(tmp_path, monkeypatch, 0)
    with pytest.raises(UserError, match="is on another machine"):
        containers.demand_docker(replace(docker, host="tcp://192.0.2.1:2375"))


def test_another_account_is_told_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(UserError, match="uid 1000, and you are uid 4242"):
        installation_for(Wanted())


@pytest.fixture
def usable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine whose Docker may be used, and a folder of state that is empty; returns that."""
    monkeypatch.setenv("RAGKEEP_VAR", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(containers, "demand_docker", lambda _: None)
    monkeypatch.setattr(containers, "has_gpu", lambda _: False)
    monkeypatch.setattr(containers, "socket_settings", lambda _: {})
    return tmp_path


def test_production_wants_its_certificates(usable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Wanted(mode=chosen.PRODUCTION)
    with pytest.raises(UserError, match="RAGKEEP_CERTIFICATES is not set"):
        installation_for(wanted)
    monkeypatch.setenv("RAGKEEP_CERTIFICATES", str(usable))
    (usable / "fullchain.pem").touch()
    with pytest.raises(UserError, match=r"there is no privkey\.pem in"):
        installation_for(wanted)
    (usable / "privkey.pem").touch()
    found = installation_for(wanted)
    assert found.chosen.overlays == ("production.yaml", "linked.yaml")
    assert found.chat_url == "https://127.0.0.1:8080"
    assert found.stack.settings["RAGKEEP_PORTAL_ORIGIN"] == "https://$host:8081"


@pytest.mark.usefixtures("usable")
def test_subnets_that_were_set_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGKEEP_SUBNET_EDGE", "10.9.0.0/24")
    assert installation_for(Wanted(offline=True)).chosen.overlays == ("offline.yaml", "subnets.yaml", "linked.yaml")


def test_an_installation_stays_what_it_is(usable: Path) -> None:
    write_chosen(usable, Chosen(chosen.COMPOSE, "one"))
    with pytest.raises(UserError, match="this installation is called one"):
        installation_for(Wanted(name="two"))
    told = CliRunner().invoke(up.command, ["--runtime", "embedded"])
    assert (told.exit_code, "this installation runs in containers" in told.stderr) == (1, True)


@pytest.mark.usefixtures("usable")
@pytest.mark.parametrize("name", ["9a", "A", "a_b", "a/b", "x" * 41])
def test_a_name_that_docker_refuses_is_refused_here(name: str) -> None:
    with pytest.raises(UserError, match="cannot be a name"):
        installation_for(Wanted(name=name))


@pytest.mark.usefixtures("usable")
def test_options_of_containers_need_containers() -> None:
    told = CliRunner().invoke(up.command, ["--offline"])
    assert (told.exit_code, "--offline is about containers" in told.stderr) == (1, True)


def test_processes_do_not_become_containers(usable: Path) -> None:
    write_state(usable / "control", StackState())
    with pytest.raises(UserError, match="this installation runs as processes"):
        installation_for(Wanted())


# What an agent is given


def job(**parts: Any) -> dict[str, Any]:  # noqa: ANN401 - parts of a job
    return {"operation": "12345678-aaaa", "attempt": 2, "work": f"{VAR}/operations/12345678-aaaa", **parts}


def given(told: dict[str, Any], stack: str = "") -> dict[str, bool]:
    return {bind.path: bind.writable for bind in binds(told, VAR, stack)}


STATE = {
    "/srv/ragkeep/operations": True,
    "/srv/ragkeep/repositories": True,
    "/srv/ragkeep/restored": True,
    "/srv/ragkeep/control/secrets": False,
}


def test_an_agent_gets_little_of_the_state() -> None:
    assert given(job(repository={"url": "/srv/ragkeep/repositories/default"})) == STATE
    assert given(job(), "rag") == {**STATE, "/srv/ragkeep/stacks/rag": False}


def test_an_agent_gets_the_folders_that_its_job_names() -> None:
    told = job(
        repository={"url": "/mnt/disk/sets"},
        options={"from": {"url": "s3:https://rag.example.org/b"}, "target": "/home/me/out/set"},
        stack={"name": "rag", "extra": [{"path": "/srv/wiki"}, {"path": "/srv/wiki/files"}, {"host": "db"}]},
    )
    assert given(told, "rag") == {
        **STATE,
        "/srv/ragkeep/stacks/rag": False,
        "/mnt/disk/sets": True,
        "/home/me/out": True,
        "/srv/wiki": False,
    }


@pytest.mark.parametrize(
    "folder",
    ["/", "/srv", "/srv/ragkeep", "/srv/ragkeep/stacks/other", "/srv/ragkeep/control", "/proc/1", "/run/docker",
     "/var/run", "/var/lib/docker/volumes", "/var", "/mnt/../etc"],
)  # fmt: skip
@pytest.mark.parametrize("how", ["repository", "copied from", "target", "source"])
def test_no_job_gives_an_agent_the_host_or_the_portals_state(folder: str, how: str) -> None:
    told = {
        "repository": job(repository={"url": folder}),
        "copied from": job(options={"from": {"url": folder}}),
        "target": job(options={"target": f"{folder.rstrip('/')}/out"}),
        "source": job(stack={"name": "rag", "extra": [{"path": folder}]}),
    }[how]
    with pytest.raises(OperationFailed, match="No agent is given that") as refused:
        given(told)
    assert refused.value.code == "folder_refused"
    assert refused.value.remedy


def test_configuration_of_the_host_is_read_and_not_written() -> None:
    assert given(job(stack={"extra": [{"path": "/etc/wiki"}]}))["/etc/wiki"] is False
    with pytest.raises(OperationFailed, match="/etc/wiki belongs to the system"):
        given(job(repository={"url": "/etc/wiki"}))


def test_an_agent_is_of_a_stack_and_works_where_all_do() -> None:
    with pytest.raises(OperationFailed, match="is no name of a stack"):
        container_of(job(stack={"name": "../control"}), VAR, "ragkeep-portal", "image")
    demand_own_work(job(), VAR)
    for work in ("/srv/ragkeep/stacks/rag", "/srv/ragkeep/operations", "/srv/ragkeep/operations/../control"):
        with pytest.raises(OperationFailed, match="is no place for the work"):
            demand_own_work(job(work=work), VAR)


def test_an_agent_joins_the_stack_and_carries_whose_it_is() -> None:
    made = container_of(job(stack={"name": "rag"}), VAR, "ragkeep-portal", "image")
    assert made.networks == ("rag_backend", "ragkeep-portal_inner", "ragkeep-portal_outlet")
    assert made.volumes["rag_documents"] == "/data/documents"
    assert made.labels == {
        "ragkeep.agent": "ragkeep-portal", "ragkeep.operation": "12345678-aaaa", "ragkeep.attempt": "2",
    }  # fmt: skip


def test_an_agent_without_a_stack_has_none_of_its_volumes() -> None:
    made = container_of(job(), VAR, "ragkeep-portal", "image")
    assert (made.volumes, made.networks) == ({}, ("ragkeep-portal_inner", "ragkeep-portal_outlet"))


def test_a_container_beside_a_stack_is_hardened() -> None:
    wanted = Beside(
        "n", "image", ("python",), ("net",), {"v": "/data/v"}, (Bind('/a,"b', True), Bind("/c")), {"l": "1"}
    )
    words = create(wanted)
    text = " ".join(words)
    for part in ("--user 1000:1000", "--read-only", "--cap-drop ALL", "no-new-privileges:true", "--rm", "--pull never"):
        assert part in text
    assert 'type=bind,"source=/a,""b","target=/a,""b"' in words
    assert 'type=bind,"source=/c","target=/c",readonly' in words
    assert words[-2:] == ["image", "python"]


# Where a stack is


def test_containers_know_a_stack_by_names() -> None:
    here = Location("rag", VAR, VAR, "127.0.0.1", {"api": {8000: 9010}}, {}, {})
    assert (here.url("api"), Linked.of(here).url("api")) == ("http://127.0.0.1:9010", "http://rag-api:8000")
    inside = Joined.of(here)
    assert (inside.url("api"), inside.volume("models")) == ("http://api:8000", Path("/data/models"))
    assert inside.secret("x") == here.secret("x")


def test_a_stack_gets_a_copy_of_its_files(tmp_path: Path) -> None:
    default = REPO / "compose" / "stack.yaml"
    assert stack_files(tmp_path, default) == [default]
    names = ["stack.yaml", "offline.yaml", "linked.yaml"]
    placed = place_files(tmp_path, REPO, names)
    assert [file.name for file in placed] == names
    assert stack_files(tmp_path, default) == placed
    assert replace(load_stack(placed[0]), file=default) == load_stack(default)
    assert (tmp_path / "project" / "config" / "nginx" / "nginx.conf.template").is_file()
    stale = tmp_path / "project" / "config" / "nginx" / "stale.conf"
    stale.write_text("")
    before = placed[0].stat().st_mtime_ns
    place_files(tmp_path, REPO, names)
    assert not stale.exists()
    assert placed[0].stat().st_mtime_ns == before, "what did not change is left alone"


def test_the_portal_file_describes_what_runs() -> None:
    spec = load_stack(REPO / "compose" / "portal.yaml")
    assert list(spec.services) == ["database", "queue", "dockerproxy", "web", "worker", "beat"]
    assert spec.service("web").ports == {8000: 2}


# Who sees what of the state


def mounts_of(service: str) -> dict[str, str]:
    """What a service of the portal has of the state: path -> `rw`, `ro`, or `nothing` where it is covered."""
    tree = yaml.safe_load((REPO / "compose" / "portal.yaml").read_text())["services"][service]
    found = dict[str, str]()
    for entry in tree.get("volumes", []):
        text = entry.replace("${RAGKEEP_NAME:-rag}", "rag").replace("${RAGKEEP_VAR}", str(VAR))
        source, _, rest = text.partition(":")
        if source.startswith(str(VAR)):
            found[source] = "ro" if rest.endswith(":ro") else "rw"
    for entry in tree.get("tmpfs", []):
        text = entry.replace("${RAGKEEP_NAME:-rag}", "rag").replace("${RAGKEEP_VAR}", str(VAR))
        found[text.partition(":")[0]] = "nothing"
    return found


def seen_by(service: str, path: str) -> str:
    """How the service sees a file of the state."""
    found = mounts_of(service)
    outer = [folder for folder in found if (VAR / path).is_relative_to(folder)]
    return found[max(outer, key=len)] if outer else "nothing"


@pytest.mark.parametrize(
    "path",
    ["stacks/shop/source/.env", "stacks/shop/compose/compose.json", "stacks/shop/compose/secrets/x",
     "stacks/shop/state.json", "control/secrets/projects/shop.git", "control/secrets/projects/shop.pending",
     "control/secrets/releases/shop-1.sealed", "stacks/rag/secrets/redis_password", "stacks/drill-x/secrets/y"],
)  # fmt: skip
def test_secrets_of_stacks_are_for_the_worker_alone(path: str) -> None:
    assert {name: seen_by(name, path) for name in ("web", "beat", "dockerproxy", "worker")} == {
        "web": "nothing", "beat": "nothing", "dockerproxy": "nothing", "worker": "rw",
    }  # fmt: skip


def test_those_who_show_pages_know_the_stacks_and_hand_values_over() -> None:
    assert seen_by("web", "known/shop/foreign.json") == "ro"
    assert seen_by("web", "control/pending/handed/x") == "rw"


def test_everything_that_the_portal_mounts_is_made_first(tmp_path: Path) -> None:
    containers.prepare_folders(tmp_path, "rag")
    wanted = {Path(path).relative_to(VAR) for service in ("web", "worker", "beat") for path in mounts_of(service)
              if path.startswith(str(VAR))}  # fmt: skip
    assert wanted
    assert [str(path) for path in wanted if not (tmp_path / path).is_dir()] == []
