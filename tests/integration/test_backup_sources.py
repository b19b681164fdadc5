"""Further sources of a set, sets of some sources, and what a set costs: real Postgres, Valkey, Chroma and restic."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from backups.errors import ManifestInvalid
from backups.fields import Fields
from backups.manifest import SET_JSON, Manifest
from backups.process import run
from backups.restic import CHOSEN_TAG
from backups.restore import sets
from backups.sources.redis import demand_whole
from tests.support import servers
from tests.support.sample_stack import SampleStack, program, refused, run_agent, sample_stack

pytestmark = pytest.mark.integration

WIKI = """
CREATE SCHEMA "Old Wiki";
CREATE TABLE "Old Wiki"."Pages" (id int, "Text" text);
INSERT INTO "Old Wiki"."Pages" SELECT n, E'line\\nCOPY x FROM stdin;\\n\\\\.' FROM generate_series(1, 500) n;
CREATE TABLE parent (id int); CREATE TABLE child () INHERITS (parent); INSERT INTO child VALUES (1), (2);
CREATE TABLE nothing ();
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, postgres_server: servers.Postgres) -> Iterator[SampleStack]:
    with sample_stack(tmp_path_factory.mktemp("sources"), postgres_server) as made:
        yield made


def database(stack: SampleStack, script: str, *, host: str = "") -> dict[str, Any]:
    """A further database and the source that names it."""
    name = stack.postgres.create_database("wiki")
    with psycopg.connect(stack.postgres.url(name), autocommit=True) as connection:
        connection.execute(script.encode())
    return {
        "name": "wiki", "kind": "postgres", "host": host or stack.postgres.host, "port": stack.postgres.port,
        "user": stack.postgres.user, "database": name, "password_file": str(stack.root / "secrets/postgres"),
    }  # fmt: skip


def set_json(stack: SampleStack, result: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stack.opened().dump(result["snapshot_id"], SET_JSON))
    return found


@pytest.mark.parametrize(("host", "in_freeze"), [("", True), ("localhost", False)])
def test_a_further_database_is_dumped_with_every_row_and_restored_by_hand(
    stack: SampleStack, tmp_path: Path, host: str, in_freeze: bool
) -> None:
    """`localhost` is another server than 127.0.0.1 as far as anybody knows."""
    ended = run_agent(stack.job_with(database(stack, WIKI, host=host)))
    assert (ended.status, ended.last["state"]) == (0, "complete"), ended
    rows = {'"Old Wiki"."Pages"': 500, "public.child": 2, "public.parent": 0, "public.nothing": 0}
    told = ended.last["sources"]["wiki"]
    assert (told["tables"], told["files"], told["kind"]) == (rows, 2, "postgres")
    assert told["bytes_added"] > 0
    manifest = stack.manifest(ended.last["snapshot_id"])
    (extra,) = manifest.extra
    assert extra.in_freeze is in_freeze
    assert (extra.taken_at <= datetime.fromisoformat(ended.last["freeze"]["thawed_at"])) is in_freeze
    assert set_json(stack, ended.last)["format"] == 1, "who does not know further sources restores the rest"
    stack.opened().restore(ended.last["snapshot_id"], folder="/set/extra/wiki", target=tmp_path / "wiki")
    again, password = stack.postgres.create_database("again"), {"PGPASSWORD": stack.postgres.password}
    url = f"--dbname=postgresql://{stack.postgres.user}@{stack.postgres.host}:{stack.postgres.port}/{again}"
    dump = str(tmp_path / "wiki/database.dump")
    run((str(servers.PG_BIN / "pg_restore"), "--exit-on-error", url, dump), env=password)
    with psycopg.connect(stack.postgres.url(again)) as connection:
        assert connection.execute('SELECT count(*) FROM "Old Wiki"."Pages"').fetchone() == (500,)


def test_redis_is_dumped_without_touching_it_and_another_server_starts_from_the_dump(
    stack: SampleStack, tmp_path: Path
) -> None:
    secret = stack.root / "secrets/redis"
    with servers.valkey(tmp_path / "first") as first, redis.Redis.from_url(first.url) as client:
        client.config_set("repl-diskless-sync-delay", "0")
        client.mset({f"key {number}": "x" * 5000 for number in range(300)})
        secret.write_text(first.password)
        source = {
            "name": "queue",
            "kind": "redis",
            "host": first.host,
            "port": first.port,
            "password_file": str(secret),
        }
        ended = run_agent(stack.job_with(source))
        assert (ended.status, ended.last["sources"]["queue"]["keys"]) == (0, 300), ended
        assert not (tmp_path / "first/dump.rdb").exists(), "the server's own dump was written"
        secret.write_text("not this one")
        assert refused(run_agent(stack.job_with(source))) == "source_missing"
    assert refused(run_agent(stack.job_with(source))) == "source_missing"
    stack.opened().restore(ended.last["snapshot_id"], folder="/set/extra/queue", target=tmp_path / "second")
    demand_whole(tmp_path / "second/dump.rdb")
    with servers.valkey(tmp_path / "second") as second, redis.Redis.from_url(second.url) as client:
        servers.wait_until(lambda: client.dbsize() == 300, what="the keys")
        assert client.get("key 299") == b"x" * 5000


def test_a_set_of_chosen_sources_holds_them_alone_and_never_looks_whole(stack: SampleStack, tmp_path: Path) -> None:
    (tmp_path / "wiki").mkdir()
    (tmp_path / "wiki/page").write_text("a page")
    folder = {"name": "wiki", "kind": "folder", "path": str(tmp_path / "wiki")}
    whole = run_agent(stack.job())
    ended = run_agent(stack.job_with(folder, sources=["wiki", "documents", "postgres"]))
    assert (ended.status, ended.last["state"], ended.last["freeze_ms"]) == (0, "complete", 0.0), ended
    assert set(ended.last["sources"]) == {"documents", "postgres", "wiki"}
    assert ended.last["detail"]["sources"] == ["documents", "postgres", "wiki"]
    (snapshot,) = stack.opened().snapshots(tags=[f"set:{ended.last['set']}"])
    assert CHOSEN_TAG in snapshot.tags
    paths = {str(node["path"]) for node in stack.opened().ls(snapshot.id) if node["type"] == "file"}
    assert not [path for path in paths if "/vectors/" in path or "/blobs/" in path]
    assert str(tmp_path / "wiki/page") in paths
    assert set_json(stack, ended.last)["format"] == 2
    assert sets.find_set(stack.opened(), "latest").manifest.set_id == whole.last["set"]
    assert sets.find_set(stack.opened(), ended.last["set"]).state == "complete"
    assert refused(run_agent(stack.job_with(sources=["wiki"]))) == "job_invalid", "it is no source of this stack"


def test_models_that_can_be_pulled_again_are_named_not_stored(stack: SampleStack) -> None:
    job = stack.job()
    job["stack"]["pullable"] = ["smollm2:*"]
    ended = run_agent(job)
    assert (ended.status, ended.last["state"]) == (0, "complete"), ended
    (named,) = ended.last["detail"]["pullable"]
    assert (named["name"], ended.last["detail"]["models"], ended.last["sources"]["models"]["bytes"]) == (
        "smollm2:135m", [], 0,
    )  # fmt: skip
    assert named["digest"].startswith("sha256:")
    found = set_json(stack, ended.last)
    assert found["format"] == 2
    with pytest.raises(ManifestInvalid, match="newer"):
        Manifest.from_json(json.dumps({**found, "format": 3}))
    old = {k: v for k, v in found.items() if k not in ("extra", "chosen", "pullable", "anomalies", "golden")}
    assert Manifest.read(Fields(old, "set", ManifestInvalid)).extra == ()


def test_an_unchanged_backup_starts_restic_three_times_and_adds_next_to_nothing(
    stack: SampleStack, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    counting = program(tmp_path / "restic", f'echo "$@" >> {calls}\nexec {servers.RESTIC} "$@"')
    assert run_agent(stack.job_with(tools={"restic": counting})).status == 0
    calls.unlink()
    ended = run_agent(stack.job_with(tools={"restic": counting}))
    assert ended.status == 0, ended
    started = [
        word for line in calls.read_text().splitlines() for word in ("cat", "backup", "ls") if f" {word} " in line
    ]
    assert (started, len(calls.read_text().splitlines())) == (["cat", "backup", "ls"], 3)
    assert set(ended.last["seconds"]) == {"preflight", "prepare", "freeze", "dump", "verify", "commit"}
    added = {name: told["bytes_added"] for name, told in ended.last["sources"].items()}
    assert added["documents"] == added["models"] == 0
    assert ended.last["sources"]["vectors"]["seconds"] > 0


def test_many_vectors_of_no_ready_document_are_an_anomaly(stack: SampleStack) -> None:
    assert run_agent(stack.job()).last["anomalies"] == []
    for start in range(0, 800, 400):
        stack.upsert([f"orphan {number}" for number in range(start, start + 400)])
    ended = run_agent(stack.job())
    (anomaly,) = ended.last["anomalies"]
    assert (ended.last["state"], anomaly["code"], anomaly["source"]) == ("complete", "vectors_apart", "vectors")
    assert stack.manifest(ended.last["snapshot_id"]).anomalies[0].message == anomaly["message"]


def test_a_source_that_would_hold_the_backup_itself_or_is_of_no_kind_is_refused(stack: SampleStack) -> None:
    for source in (
        {"name": "all", "kind": "folder", "path": str(stack.root)},
        {"name": "documents", "kind": "folder", "path": "/srv"},
        {"name": "a/b", "kind": "folder", "path": "/srv"},
        {"name": "tape", "kind": "tape"},
        {"name": "share", "kind": "folder", "path": "srv"},
    ):
        ended = run_agent(stack.job_with(source))
        assert refused(ended) == "job_invalid"
        assert "job.stack.extra[0]" in ended.last["message"]


def test_sources_are_looked_at_one_by_one(stack: SampleStack, tmp_path: Path) -> None:
    good = {"name": "good", "kind": "folder", "path": str(tmp_path)}
    (tmp_path / "file").touch()
    bad = {"name": "bad", "kind": "redis", "host": "127.0.0.1", "port": servers.free_port()}
    ended = run_agent({**stack.job("look"), "stack": stack.job_with(good, bad)["stack"], "repository": None})
    assert (ended.status, ended.last["sources"]["good"]) == (0, None), ended
    assert ended.last["sources"]["bad"]["code"] == "source_missing"
