"""restic's command lines, environment and output, as pure functions; running them is backups.repository's part.

The repository's address and the password never stand on a command line: they go through the environment and a file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

Argv = tuple[str, ...]

RETRY_LOCK = "2m"
LOCAL_CONNECTIONS = ("-o", "local.connections=8")

# A snapshot's tag when files turned out to be missing while it was stored, after its set.json was written.
PARTIAL_TAG = "state:partial"
# A snapshot's tag when its set was restricted to some of the stack's sources.
CHOSEN_TAG = "sources:chosen"

EXIT_PARTIAL = 3
EXIT_NO_REPOSITORY = 10
EXIT_LOCKED = 11
EXIT_WRONG_PASSWORD = 12

# What restic's back ends need from our own environment: programs, certificates, proxies, credentials of object stores.
_PASSED_ON = ("PATH", "HOME", "TMPDIR", "SSH_AUTH_SOCK", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
_PASSED_ON_PREFIXES = ("AWS_", "B2_", "AZURE_", "GOOGLE_", "RESTIC_REST_")
_REMOTE = ("s3:", "sftp:", "rest:", "b2:", "azure:", "gs:", "swift:", "rclone:")


def environment(
    url: str,
    password_file: Path,
    cache: Path,
    inherited: Mapping[str, str] | None = None,
    *,
    credentials: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The whole environment of a restic process. `cache`: folder under which restic keeps its cache.

    `credentials`: the place's own; where there are some, none of our environment's are mixed with them.
    """
    own = os.environ if inherited is None else inherited
    prefixes = () if credentials else _PASSED_ON_PREFIXES
    kept = {name: value for name, value in own.items() if name in _PASSED_ON or name.startswith(prefixes)}
    return {
        **kept,
        **(credentials or {}),
        "RESTIC_REPOSITORY": url,
        "RESTIC_PASSWORD_FILE": str(password_file),
        "RESTIC_CACHE_DIR": str(cache),
        "RESTIC_PROGRESS_FPS": "1",
    }


def placed(argv: Argv, options: Sequence[str]) -> Argv:
    """A command with the options of its repository's place (backups.place.restic_options) before everything else."""
    return (argv[0], *options, *argv[1:])


def local_folder(url: str) -> Path | None:
    """The folder of a repository on this machine, None for one behind a network."""
    if url.startswith(_REMOTE):
        return None
    return Path(url.removeprefix("local:"))


def version_argv(tool: Path) -> Argv:
    return (str(tool), "version", "--json")


def init_argv(tool: Path) -> Argv:
    return (*_base(tool), "init")


def config_argv(tool: Path) -> Argv:
    """`cat config`: the cheapest command that proves address and password."""
    return (*_base(tool), "--no-lock", "cat", "config")


def snapshots_argv(tool: Path, *, tags: Sequence[str] = (), host: str | None = None) -> Argv:
    """List snapshots that carry all of `tags`."""
    wanted = ("--tag", ",".join(tags)) if tags else ()
    return (*_base(tool), "--no-lock", "snapshots", *wanted, *(("--host", host) if host else ()))


def backup_argv(
    tool: Path,
    *,
    paths: Sequence[str],
    files_from: Path,
    tags: Sequence[str],
    host: str,
    excludes: Sequence[str] = (),
    by_time: bool = False,
) -> Argv:
    """One snapshot of `paths` and of the NUL-separated paths in `files_from`.

    The parent is the host's latest snapshot whatever its paths: staging folders change with every set. `by_time`: a
    file of the same path, size and modification time is the same; else inode and change time have to be the same too.
    """
    # Told of every file, one knows what each source added.
    words = [*_base(tool), "--verbose=2", "backup", "--host", host, "--group-by", "host"]
    for tag in tags:
        words += ["--tag", tag]
    for pattern in excludes:
        words += ["--exclude", pattern]
    words += ["--ignore-inode"] if by_time else []
    return (*words, "--files-from-raw", str(files_from), "--", *paths)


def ls_argv(tool: Path, snapshot: str) -> Argv:
    return (*_base(tool), "--no-lock", "ls", snapshot)


def dump_argv(tool: Path, snapshot: str, path: str) -> Argv:
    """Write one file of a snapshot to standard output."""
    return (str(tool), "--retry-lock", RETRY_LOCK, "--quiet", "dump", snapshot, path)


def restore_argv(tool: Path, snapshot: str, *, folder: str, target: Path, includes: Sequence[str] = ()) -> Argv:
    """Restore what lies under `folder` of a snapshot directly into `target` (an empty folder)."""
    words = [*_base(tool), *LOCAL_CONNECTIONS, "restore", f"{snapshot}:{folder}", "--target", str(target)]
    for pattern in includes:
        words += ["--include", pattern]
    return tuple(words)


def stats_argv(tool: Path) -> Argv:
    """What the repository really occupies."""
    return (*_base(tool), "--no-lock", "stats", "--mode", "raw-data")


def check_argv(tool: Path, *, part: int, parts: int) -> Argv:
    """Check the structure and read slice `part` of `parts` of the data: all of it after `parts` runs."""
    return (*_base(tool), "check", f"--read-data-subset={part}/{parts}")


def keys_argv(tool: Path) -> Argv:
    """The keys that open the repository, with their ids; the one in use is marked."""
    return (*_base(tool), "--no-lock", "key", "list")


def locks_argv(tool: Path) -> Argv:
    return (*_base(tool), "--no-lock", "list", "locks")


def lock_argv(tool: Path, lock: str) -> Argv:
    return (*_base(tool), "--no-lock", "cat", "lock", lock)


def unlock_argv(tool: Path) -> Argv:
    return (*_base(tool), "unlock")


def tag_argv(tool: Path, snapshot: str, *, add: str) -> Argv:
    """Add a tag; restic gives the snapshot a new id."""
    return (*_base(tool), "tag", "--add", add, snapshot)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot as `snapshots` lists it; `time` is aware, the bytes are what was read and what had to be stored."""

    id: str
    time: datetime
    host: str
    tags: tuple[str, ...]
    paths: tuple[str, ...]
    files: int = 0
    bytes_total: int = 0
    bytes_added: int = 0

    @property
    def set_id(self) -> str | None:
        """The backup set it holds, None for a snapshot that is not ours."""
        return next((tag.removeprefix("set:") for tag in self.tags if tag.startswith("set:")), None)

    @property
    def partial(self) -> bool:
        return PARTIAL_TAG in self.tags

    def as_dict(self) -> dict[str, Any]:
        """What every job tells of it."""
        return {
            "id": self.id,
            "set": self.set_id,
            "time": self.time.isoformat(),
            "host": self.host,
            "tags": list(self.tags),
            "bytes_total": self.bytes_total,
        }

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Snapshot:
        summary = value.get("summary") or {}
        return cls(
            id=str(value["id"]),
            time=datetime.fromisoformat(str(value["time"])),
            host=str(value.get("hostname", "")),
            tags=tuple(value.get("tags") or ()),
            paths=tuple(value.get("paths") or ()),
            files=int(summary.get("total_files_processed", 0)),
            bytes_total=int(summary.get("total_bytes_processed", 0)),
            bytes_added=int(summary.get("data_added_packed", 0)),
        )


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock file of the repository."""

    id: str
    hostname: str
    pid: int
    time: datetime
    exclusive: bool

    @classmethod
    def read(cls, lock_id: str, value: Mapping[str, Any]) -> Lock:
        return cls(
            id=lock_id,
            hostname=str(value.get("hostname", "")),
            pid=int(value.get("pid", 0)),
            time=datetime.fromisoformat(str(value["time"])),
            exclusive=bool(value.get("exclusive", False)),
        )


def messages(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    """The JSON objects among `lines`; restic also prints lines that are none, and types not known yet."""
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


@dataclass(frozen=True, slots=True)
class Complaints:
    """What restic wrote to standard error: `fatal` is its last word, `items` the files it could not read or write;
    `about_owners`: it could not give files to who had them, which a user namespace or an ordinary account may not, and
    had no other complaint."""

    fatal: str
    items: tuple[str, ...]
    about_owners: bool = False

    @classmethod
    def read(cls, stderr: str) -> Complaints:
        found = list(messages(stderr.splitlines()))
        fatal = next((m.get("message", "") for m in found if m.get("message_type") == "exit_error"), "")
        errors = [m for m in found if m.get("message_type") == "error"]
        items = tuple(str(m.get("item", "")) for m in errors)
        about_owners = bool(errors) and all(_said(error).startswith("lchown ") for error in errors)
        # Its last word counts them: one that was not told of would be another complaint.
        about_owners &= str(fatal).strip() == f"Fatal: There were {len(errors)} errors"
        return cls(str(fatal) or _tail(stderr), items, about_owners)


def _said(error: Mapping[str, Any]) -> str:
    told = error.get("error")
    return str(told.get("message", "")) if isinstance(told, Mapping) else ""


def _tail(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _base(tool: Path) -> Argv:
    return (str(tool), "--json", "--retry-lock", RETRY_LOCK)
