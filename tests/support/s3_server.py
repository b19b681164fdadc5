"""Real object stores: SeaweedFS with credentials, versioning and object lock, and rclone's, which knows neither."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from backups import process
from portal.runtime import ports
from tests.support import servers

KEY, SECRET = "AKTEST", "test-secret-of-nobody"
READER_KEY, READER_SECRET = "AKREADER", "reader-secret-of-nobody"


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A running store. `bucket` exists."""

    endpoint: str
    bucket: str

    @property
    def url(self) -> str:
        """What restic takes."""
        return f"s3:{self.endpoint}/{self.bucket}"

    def client(self) -> Any:  # noqa: ANN401 - boto3 makes its classes while it runs
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            config=Config(
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def with_bucket(self, name: str, *, lock_days: int = 0, versioned: bool = False) -> ObjectStore:
        """The same store with a further bucket."""
        client = self.client()
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=bool(lock_days))
        if versioned:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        if lock_days:
            rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": lock_days}}
            lock = {"ObjectLockEnabled": "Enabled", "Rule": rule}
            client.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=lock)
        return replace(self, bucket=name)

    def answers(self) -> bool:
        try:
            self.client().list_buckets()
        except (BotoCoreError, ClientError):
            return False
        return True


def credentials(path: Path, key: str = KEY, secret: str = SECRET) -> Path:
    """A credentials file as an operator writes it."""
    path.write_text(f"AWS_ACCESS_KEY_ID={key}\nAWS_SECRET_ACCESS_KEY={secret}\n")
    path.chmod(0o600)
    return path


@contextmanager
def seaweedfs(folder: Path) -> Iterator[ObjectStore]:
    """SeaweedFS with a bucket, one account that may do everything, and one that may only read."""
    folder.mkdir(parents=True, exist_ok=True)
    accounts = folder / "s3.json"
    accounts.write_text(json.dumps({"identities": [_identity("admin", KEY, SECRET, "Admin", "Read", "Write", "List")]}))
    identities = [
        _identity("admin", KEY, SECRET, "Admin", "Read", "Write", "List", "Tagging"),
        _identity("reader", READER_KEY, READER_SECRET, "Read", "List"),
    ]
    accounts.write_text(json.dumps({"identities": identities}))
    names = ("master", "volume", "filer", "s3")
    http, grpc = ports.free_ports(4), ports.free_ports(4)
    argv = [
        str(servers.BIN / "weed"),
        "-logtostderr=true",
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-s3",
        "-s3.iam=false",
    ]
    argv += [f"-s3.config={accounts}", "-volume.max=20", "-master.volumeSizeLimitMB=64", "-volume.minFreeSpace=10MiB"]
    for name, port, grpc_port in zip(names, http, grpc, strict=True):
        argv += [f"-{name}.port={port}", f"-{name}.port.grpc={grpc_port}"]
    store = ObjectStore(f"http://127.0.0.1:{http[3]}", "backups")
    with process.Running(argv) as running:
        running.discard_output()
        servers.wait_until(store.answers, what="SeaweedFS")
        yield store.with_bucket("backups")
        # It takes its time to end, and its data is worth nothing.
        running.kill()


def _identity(name: str, key: str, secret: str, *actions: str) -> dict[str, Any]:
    return {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": list(actions)}


class RcloneStore:
    """rclone's object store on a folder; it can be stopped and started again on the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "backups").mkdir(parents=True)
        self._port = servers.free_port()
        self.store = ObjectStore(f"http://127.0.0.1:{self._port}", "backups")
        self._running: process.Running | None = None

    def start(self) -> None:
        argv = [str(servers.BIN / "rclone"), "--config", "", "serve", "s3", str(self._folder)]
        argv += ["--addr", f"127.0.0.1:{self._port}", "--auth-key", f"{KEY},{SECRET}"]
        self._running = process.Running(argv)
        self._running.discard_output()
        servers.wait_until(self.store.answers, what="rclone's object store")

    def stop(self) -> None:
        if self._running is not None:
            self._running.__exit__()
            self._running = None


@contextmanager
def rclone(folder: Path) -> Iterator[RcloneStore]:
    """rclone's object store, running."""
    server = RcloneStore(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
