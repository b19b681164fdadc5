"""The portal's pages for tests: rows to show, accounts of every role, and the real server."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from backups import process
from backups.secret import write_secret
from portal.alarms.models import Channel
from portal.operations.models import LogLine, Operation, State, Step, StepState
from portal.runtime.compose.foreign.description import write_foreign
from portal.runtime.foreign import Foreign
from portal.stacks.models import Project, Release, Stack
from portal.vaults.models import (
    BackupSet,
    Drill,
    DrillState,
    ExtraSource,
    GoldenQuestion,
    Plan,
    Repository,
    Restore,
    RestoreState,
    SetState,
    SourceKind,
)
from portal.watch.models import Event, EventKind, Sample
from tests.support import servers

PASSWORD = "correct horse battery staple"
OPERATOR = "operator@example.org"
READER = "reader@example.org"
ROLES = ("anonymous", "reader", "operator")


DRILL_REPORT = {
    "passed": True,
    "checks": [{"name": "documents", "expected": 1398, "found": 1398, "ok": True}],
    "canary": {"questions": 24, "first_hits": 24, "rest_expected": 168, "rest_found": 165, "passed": True},
    "golden": {"by": "set", "questions": 8, "found": 8, "passed": True, "asked": []},
}


DEPLOY_PLAN: dict[str, object] = {
    "stack": "rag",
    "release": 2,
    "nothing": False,
    "changes": [
        {"service": "api", "action": "recreate", "reason": "its environment (LOG_LEVEL) changed", "causes": []},
        {"service": "postgres", "action": "recreate", "reason": "there is another image postgres:18.4", "causes": []},
        {"service": "nginx", "action": "keep", "reason": "runs as described", "causes": []},
    ],
    "settings": {"LOG_LEVEL": "changed"},
    "files": {"nginx": {"/etc/ragkeep/nginx": "changed"}},
    "touches": ["postgres is replaced: it keeps the data of postgres"],
    "interrupted": ["postgres"],
    "backup": True,
    "problems": [],
}


@dataclass(frozen=True, slots=True)
class Rows:
    """What a portal in use has in its database."""

    stack: Stack
    plan: Plan
    good: BackupSet
    partial: BackupSet
    done: Operation
    failed: Operation
    kept: Restore
    question: GoldenQuestion
    look: Operation


def clients() -> dict[str, Client]:
    """A client for each role: nobody, somebody who may look, somebody who may operate."""
    operator = User.objects.create_user(OPERATOR, OPERATOR, PASSWORD, is_staff=True)
    reader = User.objects.create_user(READER, READER, PASSWORD)
    made = {role: Client() for role in ROLES}
    made["operator"].force_login(operator)
    made["reader"].force_login(reader)
    return made


def text_of(client: Client, address: str, status: int = 200) -> str:
    """The page at `address`; the portal must answer with `status`."""
    answer = client.get(address)
    assert answer.status_code == status
    return answer.content.decode()


def operation(
    kind: str = "backup", state: State = State.SUCCEEDED, *, target: str = "stack:rag", **fields: object
) -> Operation:
    """An operation, a minute old, with a step and a log line."""
    now = timezone.now()
    row = Operation.objects.create(
        kind=kind,
        target=target,
        state=state,
        join_key=str(uuid.uuid4()),
        attempt=1,
        seq=1,
        started_at=now - timedelta(seconds=60),
        finished_at=None if state in (State.QUEUED, State.RUNNING) else now,
        **fields,
    )
    step_state = StepState.STARTED if row.is_active else StepState.DONE
    Step.objects.create(
        operation=row,
        ordinal=1,
        name="freeze",
        title="Hold writes",
        attempt=1,
        state=step_state,
        data={"freeze_ms": 52},
    )
    LogLine.objects.create(operation=row, seq=1, level="info", text="restic: 610 files <b>")
    return row


def backup_set(repository: Repository, taken_at: datetime, state: SetState = SetState.COMPLETE) -> BackupSet:
    """A set with an operation of its own."""
    made = BackupSet.objects.create(
        id=f"{taken_at:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}",
        stack="rag",
        repository=repository,
        operation=operation(),
        state=state,
        taken_at=taken_at,
        freeze_ms=52.4,
        seconds=41.2,
        bytes_total=173_000_000,
        bytes_added=3_400_000,
        counts={"documents": 1398, "chunks": 9874, "users": 4},
        sources={name: {"bytes": 10_000_000, "files": 12} for name in ("documents", "vectors", "models", "postgres")},
        snapshot_id="9f3c2a77be1d",
    )
    return made


def releases(stack: Stack, *, done: Operation) -> None:
    """Two releases that served one after the other, and one that did not come so far."""
    images = {"api": {"reference": "ragkeep/rag-api:0.1.0", "id": f"sha256:{'a' * 64}"}}
    told = {"stack": stack, "runtime": "compose", "author_name": OPERATOR, "contents": {"api": {}}, "sealed_file": "/x"}
    now, file = timezone.now(), "services:\n  api:\n    environment:\n      LOG_LEVEL: (hidden) "
    Release.objects.create(
        number=1, state="kept", outline=f"{file}aaaaaaaaaaaa\n", images=images, environment={"LOG_LEVEL": "a"},
        deployed_at=now - timedelta(days=2), note="Started by up.", **told,
    )  # fmt: skip
    Release.objects.create(
        number=2, state="current", outline=f"{file}bbbbbbbbbbbb\n", environment={"LOG_LEVEL": "b", "CHAT_MODEL": "c"},
        images={"api": {**images["api"], "id": f"sha256:{'b' * 64}"}}, deployed_at=now, note="Quieter logs.",
        operation=done, schema={"code": "0005", "database": "0005", "oldest": "0004"}, **told,
    )  # fmt: skip
    failure = {"code": "unhealthy", "message": "api is failed.", "remedy": "Read its log."}
    Release.objects.create(number=3, state="failed", outline=file, failure=failure, **told)


def rows(folder: Path) -> Rows:
    """Fill the database as a portal in use would have it; `folder` is the repository's."""
    now = timezone.now()
    repository = Repository.objects.create(name="default", url=str(folder), password_file=str(folder / "password"))
    stack = Stack.objects.create(name="rag")
    good = backup_set(repository, now - timedelta(hours=2))
    partial = backup_set(repository, now - timedelta(hours=26), SetState.PARTIAL)
    drill = operation("drill", result={"set_id": good.pk, "seconds": 93.6})
    Drill.objects.create(set=good, operation=drill, state=DrillState.PASSED, seconds=93.6, report=DRILL_REPORT)
    BackupSet.objects.filter(pk=good.pk).update(proven_at=now - timedelta(hours=1))
    plan = Plan.objects.create(name="nightly", stack="rag", repository=repository, next_run_at=now + timedelta(hours=9))
    error = {"code": "locked", "message": "The repository is locked.", "remedy": "Run `python3 manage.py doctor`."}
    failed = operation(state=State.FAILED, error=error)
    kept = Restore.objects.create(
        set=good,
        operation=operation("restore"),
        state=RestoreState.KEPT,
        downtime_ms=8340,
        kept_until=now + timedelta(hours=23),
    )
    releases(stack, done=drill)
    ExtraSource.objects.create(stack="rag", name="wiki", kind=SourceKind.FOLDER, settings={"path": "/srv/wiki"})
    write_secret(folder / "mail.url", "json://127.0.0.1:9/alarms")
    Channel.objects.create(name="mail", url_file=str(folder / "mail.url"))
    watched(stack, now)
    done = good.operation
    assert done is not None
    question = GoldenQuestion.objects.create(stack="rag", question="What raises lift?", expected=["wing.txt"])
    look = operation("stack.plan", result={"plan": DEPLOY_PLAN})
    return Rows(stack, plan, good, partial, done, failed, kept, question, look)


def watched(stack: Stack, now: datetime) -> None:
    """Two hours of use of three services, and one event of each kind."""
    minute = now.replace(second=0, microsecond=0)
    Sample.objects.bulk_create(
        Sample(
            stack=stack,
            service=service,
            at=minute - timedelta(minutes=ago),
            memory_bytes=(60 + 40 * place + ago % 17) * 2**20,
            cpu_seconds=(7200 - 60 * ago) * 0.2 * place + (ago % 5),
            disk_read=(7200 - 60 * ago) * 1000,
            disk_written=0,
        )
        for place, service in enumerate(("api", "ingest", "postgres"), start=1)
        for ago in range(120)
    )
    Event.objects.bulk_create(
        Event(stack=stack, service="api", at=now - timedelta(minutes=n), kind=kind, detail="terminated by SIGKILL")
        for n, kind in enumerate(EventKind.values, start=20)
    )


@contextmanager
def portal_server(
    valkey: servers.Valkey, var: Path, *, module: str = "tests.support.portal_web_settings"
) -> Iterator[str]:
    """The portal under uvicorn with these settings, on the database of this test; yields its address."""
    database = connection.settings_dict
    port = servers.free_port()
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": module,
        "RAGKEEP_VAR": str(var),
        "TEST_PG_PORT": str(database["PORT"]),
        "TEST_PG_NAME": str(database["NAME"]),
        "TEST_PG_USER": str(database["USER"]),
        "TEST_PG_PASSWORD": str(database["PASSWORD"]),
        "TEST_VALKEY_URL": valkey.url,
    }
    argv = [sys.executable, "-m", "uvicorn", "config.asgi:application", "--host", "127.0.0.1", "--port", str(port)]
    argv += ["--log-level", "warning", "--timeout-graceful-shutdown", "1"]
    with process.Running(argv, env=env, cwd=servers.REPO):
        servers.wait_until(lambda: servers.http_ok(f"http://127.0.0.1:{port}/sign-in/"), what="the portal")
        yield f"http://127.0.0.1:{port}"


NEEDS = ["web: reads /srv/photos of this host", "web: has further capabilities: NET_ADMIN"]


def further(name: str, var: Path, services: Collection[str] = ("web", "db"), **fields: object) -> Project:
    """A further stack that comes from a Git repository, with two releases and an hour of use."""
    stack = Stack.objects.create(name=name, runtime="compose")
    told = {"kind": "git", "place": "https://git.example.org/shop.git", "branch": "live", "revision": "0123456789ab",
            "files": ["compose.yaml"], "fetched_at": timezone.now(), **fields}  # fmt: skip
    project = Project.objects.create(stack=stack, **told)
    foreign = Foreign(("compose.yaml",), (".env",), services={service: service for service in services})
    write_foreign(var / "known" / name, foreign)
    made = operation("stack.deploy", target=stack.target)
    releases(stack, done=made)
    volumes = "volumes:\n  data:\n    name: shop_data\n  theirs:\n    name: theirs\n    external: true\n"
    Release.objects.filter(stack=stack, number=2).update(outline=f"services: {{}}\n{volumes}")
    watched(stack, timezone.now())
    return project
