"""A plan names exactly what Compose would replace, and what Compose overlooks besides."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from portal.runtime.compose import ComposeRuntime
from portal.runtime.compose.client import Docker
from portal.runtime.paths import RuntimePaths
from portal.runtime.ports import free_ports
from portal.runtime.protocol import Action
from portal.runtime.spec import StackSpec
from tests.support import tiny_stack
from tests.support.docker_engine import Engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(500)]

OURS, PLAIN = "planours", "planplain"
MARK = "ragkeep.test.rebuilt"
REBUILT = "ragkeep/tiny-rebuilt:1"
Changes = dict[str, Any]


class Edit(NamedTuple):
    """One service: how it is at first, what is changed in it, and the reason that a plan gives; none: it is kept."""

    before: Changes
    after: Changes
    reason: str


# Each edit has a service to itself, so that one deploy shows what becomes of all of them.
EDITS = {
    "untouched": Edit({}, {}, ""),
    "variable-added": Edit({}, {"environment": {"A": "1"}}, "its environment (A) changed"),
    "variable-changed": Edit({"environment": {"A": "1"}}, {"environment": {"A": "2"}}, "its environment (A) changed"),
    "variable-gone": Edit({"environment": {"A": "1"}}, {"environment": {}}, "its environment (A) changed"),
    "same-value": Edit({"environment": {"A": "1"}}, {"environment": {"A": "${NOT_SET:-1}"}}, ""),
    "command": Edit({}, {"command": ["sleep", "100000"]}, "its command changed"),
    "entrypoint": Edit({}, {"entrypoint": ["nice"]}, "its entrypoint changed"),
    "image-name": Edit({}, {"image": "ragkeep/tiny-alias:1"}, "its image changed"),
    "image-rebuilt": Edit({"image": REBUILT}, {}, f"there is another image {REBUILT}"),
    "user": Edit({}, {"user": "1001:1001"}, "its user changed"),
    "memory": Edit(
        {"deploy": {"resources": {"limits": {"memory": "64m"}}}},
        {"deploy": {"resources": {"limits": {"memory": "65m"}}}},
        "its limits or replicas changed",
    ),
    "restart-policy": Edit({}, {"restart": "unless-stopped"}, "its restart changed"),
    "health-check": Edit({}, {"healthcheck": {"test": ["CMD", "true"], "interval": "1s"}}, "its healthcheck changed"),
    "volume": Edit({}, {"volumes": ["data:/data"]}, "its volumes changed"),
    "network": Edit({"networks": ["one"]}, {"networks": ["one", "two"]}, "its networks changed"),
    "port": Edit({}, {"ports": ["127.0.0.1:PORT:80"]}, "its ports changed"),
    "capabilities": Edit({}, {"cap_drop": ["ALL"]}, "its capabilities changed"),
    "security": Edit({}, {"security_opt": ["no-new-privileges:true"]}, "its security opt changed"),
    "read-only": Edit({}, {"read_only": True}, "its read only changed"),
    "scratch": Edit({}, {"tmpfs": ["/scratch"]}, "its tmpfs changed"),
    "stop-signal": Edit({}, {"stop_signal": "SIGINT"}, "its stop signal changed"),
    "patience": Edit({}, {"stop_grace_period": "3s"}, "its stop grace period changed"),
    "logging": Edit({}, {"logging": {"driver": "json-file", "options": {"max-size": "1m"}}}, "its logging changed"),
    "secret": Edit({}, {"secrets": ["word"]}, "its secrets changed; what it mounts changed: secret word"),
    "order": Edit(
        {},
        {"depends_on": {"untouched": {"condition": "service_started"}}},
        "its dependencies changed",
    ),
    "count": Edit({"deploy": {"replicas": 1}}, {"deploy": {"replicas": 2}}, ""),
}
# What Compose overlooks: contents that change while the description stays.
OVERLOOKED = {
    "mounted-folder": ({"volumes": ["./conf:/etc/conf:ro"]}, "what it mounts changed: /etc/conf"),
    "mounted-secret": ({"secrets": ["word"]}, "what it mounts changed: secret word"),
}


def written(folder: Path, *, edited: bool, project: str, port: int) -> StackSpec:
    """The stack before or after all edits."""
    services: dict[str, Changes] = {}
    for name, edit in EDITS.items():
        services[name] = {**_plain(), **copy.deepcopy(edit.before), **(copy.deepcopy(edit.after) if edited else {})}
    for name, (config, _) in OVERLOOKED.items():
        services[name] = {**_plain(), **copy.deepcopy(config)}
    if edited:
        services["port"]["ports"] = [f"127.0.0.1:{port}:80"]
    content = {
        "name": "plan",
        "services": services,
        "volumes": {"data": {}},
        "networks": {"one": {}, "two": {}},
        "secrets": {"word": {"file": "./word"}},
    }
    return tiny_stack.written(content, folder, project)


def _plain() -> Changes:
    return {"image": tiny_stack.IMAGE, "command": ["sleep", "infinity"], "init": True}


def ids(engine: Engine, project: str) -> dict[str, set[str]]:
    template = '{{.Label "com.docker.compose.service"}} {{.ID}}'
    label = f"label=com.docker.compose.project={project}"
    found: dict[str, set[str]] = {}
    for line in engine.docker("ps", "--filter", label, "--format", template).stdout.splitlines():
        found.setdefault(line.split()[0], set()).add(line.split()[1])
    return found


def rebuild(engine: Engine, mark: str) -> None:
    """Give the name another image with the same contents."""
    container = engine.docker("create", tiny_stack.IMAGE, "true").stdout.strip()
    engine.docker("commit", "--change", f"LABEL {MARK}={mark}", container, REBUILT)
    engine.docker("rm", container)


@pytest.fixture
def runtime(engine: Engine, tmp_path: Path) -> Iterator[ComposeRuntime]:
    tiny_stack.build_image(engine)
    engine.docker("tag", tiny_stack.IMAGE, "ragkeep/tiny-alias:1")
    found = ComposeRuntime(RuntimePaths(tmp_path / "var"), Docker(engine.host, engine.config))
    yield found
    for project in (OURS, PLAIN):
        engine.docker("compose", "--project-name", project, "down", "--volumes", "--timeout", "1", timeout=200)
    made = engine.docker("images", "--all", "--quiet", "--filter", f"label={MARK}").stdout.split()
    engine.docker("image", "rm", "--force", "ragkeep/tiny-alias:1", *made)


def replaced(before: dict[str, set[str]], after: dict[str, set[str]]) -> set[str]:
    return {name for name, old in before.items() if not old <= after[name]}


def test_a_plan_is_what_compose_would_do_and_what_it_overlooks(
    runtime: ComposeRuntime, engine: Engine, tmp_path: Path
) -> None:
    folder = tmp_path / "stack"
    (folder / "conf").mkdir(parents=True)
    (folder / "conf" / "a").write_text("1")
    (folder / "word").write_text("eins")
    secret = runtime.paths.root(OURS) / "secrets" / "word"
    secret.parent.mkdir(parents=True)
    secret.write_text("eins")
    (port,) = free_ports(1)
    plain: list[str | Path] = [
        "compose",
        "--project-name",
        PLAIN,
        "--file",
        folder / "tiny.yaml",
        "up",
        "--detach",
        "--no-build",
    ]

    rebuild(engine, "first")
    spec = written(folder, edited=False, project=OURS, port=port)
    runtime.apply(spec)
    engine.docker(*plain, timeout=300)
    assert runtime.plan(spec).is_empty, "nothing to do right after a deploy"
    before = ids(engine, PLAIN)

    rebuild(engine, "second")
    edited = written(folder, edited=True, project=OURS, port=port)
    (folder / "conf" / "a").write_text("2")
    secret.write_text("zwei")
    (folder / "word").write_text("zwei")
    ours_before = ids(engine, OURS)
    plan = runtime.plan(edited)
    assert ids(engine, OURS) == ours_before, "a plan changes nothing"
    engine.docker(*plain, timeout=300)

    by_plan = {change.service for change in plan.changes if change.action is Action.RECREATE}
    assert by_plan - set(OVERLOOKED) == replaced(before, ids(engine, PLAIN))
    reasons = {change.service: change.reason for change in plan.changes if change.action is Action.RECREATE}
    expected = {name: edit.reason for name, edit in EDITS.items() if edit.reason}
    assert reasons == {**expected, **{name: reason for name, (_, reason) in OVERLOOKED.items()}}
    assert plan.action("count") is Action.START

    engine.docker("compose", "--project-name", PLAIN, "down", "--timeout", "1", timeout=200)
    runtime.apply(edited)
    assert replaced(ours_before, ids(engine, OURS)) == by_plan
    assert len(ids(engine, OURS)["count"]) == 2
    assert runtime.plan(edited).is_empty
