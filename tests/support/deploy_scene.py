"""A small stack in containers that the portal deploys: `front`, replaced start-first, and `api`, which answers it.

What is wrong with a release is said by settings: FRONT_MODE and API_MODE. `python -m tests.support.deploy_scene ID` is
a worker that carries out one operation, to be killed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from django.conf import settings
from django.db import connection

from backups.process import Running
from portal.runtime.compose import ComposeRuntime
from portal.runtime.compose.location import Linked
from portal.runtime.spec import StackSpec
from tests.support import servers, tiny_stack
from tests.support.docker_engine import Engine

PROJECT = "deployed"
# Both services are this program. good: as it should be; crash: ends at once; never: answers no health check; mute:
# healthy, and every question fails; number: ends unless NUMBER is one.
SERVER = """
import http.server, json, os, signal, sys
mode, number = os.environ["MODE"], os.environ.get("NUMBER", "1")
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
if mode == "crash" or not number.isdigit():
    sys.exit(f"cannot start: {mode}")
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        asked = self.path.startswith("/internal/")
        bad = (mode == "never" and not asked) or (mode == "mute" and asked)
        known = {"/internal/search": {"hits": [{}, {}], "found": True}, "/internal/counts": {"documents": 2},
                 "/internal/schema": {"code": "1", "database": "1", "oldest": "1"}}
        self.send_response(500 if bad else 200); self.end_headers()
        self.wfile.write(json.dumps(known.get(self.path, os.environ["GREETING"])).encode())
    do_GET = answer
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0)); self.answer()
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8001), Handler).serve_forever()
"""


def service(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any key of a service
    """One of the two; it is healthy or not within a few seconds."""
    return {
        "image": tiny_stack.IMAGE,
        # Python's own dollar signs would be variables of Compose.
        "command": ["python", "-u", "-c", SERVER],
        "init": True,
        "stop_grace_period": "2s",
        "healthcheck": {
            "test": ["CMD", "python", "-c", tiny_stack.ASK, "8001"],
            "interval": "500ms",
            "timeout": "3s",
            "retries": 6,
        },
        **changes,
    }


def tree() -> dict[str, Any]:
    """The stack file."""
    ready = {"command": ["true"], "seconds": 12}
    front = service(
        image="${FRONT_IMAGE:-" + tiny_stack.IMAGE + "}",
        environment={
            "MODE": "${FRONT_MODE:-good}",
            "GREETING": "${GREETING:-hello}",
            "NUMBER": "${NUMBER:-1}",
        },
        **{"x-ragkeep": {"title": "Front", "replace": "start-first", "ready": ready}},
    )
    api = service(
        environment={"MODE": "${API_MODE:-good}", "GREETING": "${GREETING:-hello}"},
        ports=["127.0.0.1:8001:8001"],
        volumes=["data:/data"],
        secrets=["internal_token"],
        **{"x-ragkeep": {"title": "Api", "ports": {"8001": 0}, "ready": ready}},
    )
    secrets = {"internal_token": {"file": "${RAGKEEP_SECRETS:-./secrets}/internal_token"}}
    return {"name": PROJECT, "services": {"api": api, "front": front}, "volumes": {"data": {}}, "secrets": secrets}


@dataclass(frozen=True, slots=True)
class Deployed:
    """The stack, with what a test asks of it."""

    engine: Engine
    runtime: ComposeRuntime
    var: Path

    @property
    def spec(self) -> StackSpec:
        from portal.core import places

        return places.stack_spec(PROJECT)

    def containers(self, service: str = "") -> list[str]:
        """Ids of the project's containers, running or not."""
        words = ["ps", "--all", "--no-trunc", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}"]
        words += ["--filter", f"label=com.docker.compose.service={service}"] if service else []
        return self.engine.docker(*words).stdout.split()

    def environment(self, service: str) -> dict[str, str]:
        """The variables of a service's one container."""
        (container,) = self.containers(service)
        inspected = json.loads(self.engine.docker("inspect", container).stdout)[0]
        return dict(entry.split("=", 1) for entry in inspected["Config"]["Env"])

    def greeting(self) -> str:
        """What the api answers."""
        return str(httpx.get(self.runtime.locate(self.spec).url("api"), timeout=5, trust_env=False).json())


def write_files(var: Path) -> None:
    """Put the stack's files and secrets where an installation has them."""
    root = var / "stacks" / PROJECT
    folder = root / "project" / "compose"
    folder.mkdir(parents=True)
    (folder / "stack.yaml").write_text(json.dumps(tree()))
    (folder.parent / "files.json").write_text('["stack.yaml"]')
    (root / "secrets").mkdir(mode=0o700)
    (root / "secrets" / "internal_token").write_text("token\n")


def see_from_this_host() -> None:
    """Reach services by their published ports: the portal of a test is no container of their network."""
    Linked.of = classmethod(lambda _, location: location)  # type: ignore[method-assign, assignment]


@contextmanager
def portal_worker(operation: str, var: Path, engine: Engine) -> Iterator[Running]:
    """A process that carries out the operation as a worker would."""
    database = connection.settings_dict
    env = {
        **engine.environ,
        "DJANGO_SETTINGS_MODULE": "tests.support.deploy_worker",
        "RAGKEEP_VAR": str(var),
        "PYTHONPATH": str(servers.REPO),
        "TEST_PG_PORT": str(database["PORT"]),
        "TEST_PG_NAME": str(database["NAME"]),
        "TEST_PG_USER": str(database["USER"]),
        "TEST_PG_PASSWORD": str(database["PASSWORD"]),
        "TEST_VALKEY_URL": settings.VALKEY_URL,
    }
    with Running([sys.executable, "-m", "tests.support.deploy_scene", operation], env=env, cwd=servers.REPO) as found:
        yield found


def main(operation: str) -> None:
    import django

    django.setup()
    from portal.operations import worker

    see_from_this_host()
    worker.execute(operation)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.support.deploy_worker")
    main(sys.argv[1])
