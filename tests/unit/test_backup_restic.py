"""restic's command lines to the letter, its output, and its failures as typed errors."""

from __future__ import annotations

import errno
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backups import errors, restic
from backups.repository import failure, owner_gone

TOOL = Path("/opt/restic")
BASE = ("/opt/restic", "--json", "--retry-lock", "2m")


def test_backup_command() -> None:
    argv = restic.backup_argv(
        TOOL,
        paths=["set", "/data/documents/live"],
        files_from=Path("/job/files.raw"),
        tags=["ragkeep", "set:1"],
        host="rag-production",
    )
    assert argv == (
        *BASE, "--verbose=2", "backup", "--host", "rag-production", "--group-by", "host", "--tag", "ragkeep",
        "--tag", "set:1", "--files-from-raw", "/job/files.raw", "--", "set", "/data/documents/live",
    )  # fmt: skip


def test_backup_command_that_goes_by_time() -> None:
    argv = restic.backup_argv(TOOL, paths=["set"], files_from=Path("f"), tags=[], host="h", by_time=True)
    assert argv[-6:] == ("host", "--ignore-inode", "--files-from-raw", "f", "--", "set")


def test_reading_commands_take_no_lock() -> None:
    assert restic.config_argv(TOOL) == (*BASE, "--no-lock", "cat", "config")
    assert restic.ls_argv(TOOL, "abc") == (*BASE, "--no-lock", "ls", "abc")
    assert restic.stats_argv(TOOL) == (*BASE, "--no-lock", "stats", "--mode", "raw-data")
    assert restic.locks_argv(TOOL) == (*BASE, "--no-lock", "list", "locks")
    assert restic.lock_argv(TOOL, "f0") == (*BASE, "--no-lock", "cat", "lock", "f0")
    assert restic.snapshots_argv(TOOL, tags=["ragkeep", "set:1"], host="h") == (
        *BASE, "--no-lock", "snapshots", "--tag", "ragkeep,set:1", "--host", "h",
    )  # fmt: skip


def test_writing_commands() -> None:
    assert restic.init_argv(TOOL) == (*BASE, "init")
    assert restic.unlock_argv(TOOL) == (*BASE, "unlock")
    assert restic.tag_argv(TOOL, "abc", add="state:partial") == (*BASE, "tag", "--add", "state:partial", "abc")
    assert restic.check_argv(TOOL, part=2, parts=7) == (*BASE, "check", "--read-data-subset=2/7")


def test_restore_commands() -> None:
    assert restic.dump_argv(TOOL, "abc", "/set/set.json") == (
        "/opt/restic", "--retry-lock", "2m", "--quiet", "dump", "abc", "/set/set.json",
    )  # fmt: skip
    assert restic.restore_argv(TOOL, "abc", folder="/set", target=Path("/staging")) == (
        *BASE, "-o", "local.connections=8", "restore", "abc:/set", "--target", "/staging",
    )  # fmt: skip


def test_environment_names_the_repository_and_passes_on_nothing_else_of_ours() -> None:
    inherited = {"PATH": "/bin", "AWS_ACCESS_KEY_ID": "key", "RAG_SECRET": "no", "PYTHONPATH": "no"}
    found = restic.environment("s3:https://host/bucket", Path("/run/password"), Path("/cache"), inherited)
    assert found == {
        "PATH": "/bin",
        "AWS_ACCESS_KEY_ID": "key",
        "RESTIC_REPOSITORY": "s3:https://host/bucket",
        "RESTIC_PASSWORD_FILE": "/run/password",
        "RESTIC_CACHE_DIR": "/cache",
        "RESTIC_PROGRESS_FPS": "1",
    }


@pytest.mark.parametrize(
    ("url", "folder"),
    [("/srv/r", Path("/srv/r")), ("local:/srv/r", Path("/srv/r")), ("sftp:u@h:/r", None), ("rest:http://h/", None)],
)
def test_only_local_repositories_have_a_folder(url: str, folder: Path | None) -> None:
    assert restic.local_folder(url) == folder


def test_messages_skips_what_is_not_json_and_keeps_unknown_types() -> None:
    lines = ["using parent snapshot", '{"message_type":"status"}', "[1]", '{"message_type":"novelty"}', ""]
    assert [m["message_type"] for m in restic.messages(lines)] == ["status", "novelty"]


def test_complaints_name_files_and_the_last_word() -> None:
    stderr = "\n".join(
        [
            json.dumps({"message_type": "error", "error": {"message": "denied"}, "during": "scan", "item": "/a/b"}),
            "subprocess sftp: warning",
            json.dumps({"message_type": "exit_error", "code": 3, "message": "incomplete"}),
        ]
    )
    assert restic.Complaints.read(stderr) == restic.Complaints("incomplete", ("/a/b",))


def test_complaints_without_json_are_the_last_line() -> None:
    assert restic.Complaints.read("first\nFatal: broken\n\n").fatal == "Fatal: broken"


def test_snapshot_reads_its_set_and_figures() -> None:
    listed = {
        "id": "abc",
        "time": "2026-01-31T02:00:00.123456789Z",
        "hostname": "rag-production",
        "tags": ["ragkeep", "set:20260131T020000Z-4f09ac", "state:partial"],
        "summary": {"total_bytes_processed": 9, "data_added_packed": 4, "total_files_processed": 2},
    }
    found = restic.Snapshot.read(listed)
    assert (found.set_id, found.partial) == ("20260131T020000Z-4f09ac", True)
    assert (found.bytes_total, found.bytes_added, found.files, found.paths) == (9, 4, 2, ())
    assert restic.Snapshot.read({"id": "x", "time": "2026-01-31T02:00:00Z"}).set_id is None


@pytest.mark.parametrize(
    ("code", "fatal", "folder_there", "expected"),
    [
        (10, "", True, errors.RepositoryMissing),
        (11, "", True, errors.RepositoryLocked),
        (12, "", True, errors.RepositoryKeyWrong),
        (10, "", False, errors.RepositoryUnreachable),
        (1, "", False, errors.RepositoryUnreachable),
        (1, f"write pack: {os.strerror(errno.ENOSPC)}", True, errors.RepositoryFull),
        (1, "write pack: no space left on device", True, errors.RepositoryFull),
        (1, "something else", True, errors.ResticFailed),
        (2, "", True, errors.ResticFailed),
        (130, "", True, errors.ResticFailed),
        (-9, "", True, errors.ResticFailed),
    ],
)
def test_exit_statuses_become_typed_errors(
    code: int, fatal: str, folder_there: bool, expected: type[errors.RepositoryError]
) -> None:
    found = failure(code, fatal, url="/srv/r", folder_there=folder_there)
    assert type(found) is expected
    assert found.message
    assert found.remedy


def lock(hostname: str, pid: int) -> restic.Lock:
    return restic.Lock("f0", hostname, pid, datetime(2026, 1, 1, tzinfo=UTC), True)


def test_a_lock_is_dead_only_when_its_process_is_provably_gone(tmp_path: Path) -> None:
    for pid, name in ((7, "(restic) S 1"), (8, "(postgres) S 1"), (10, "(restic) Z 1")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} {name} 5\n")
    assert not owner_gone(lock("here", 7), hostname="here", proc=tmp_path)
    assert owner_gone(lock("here", 8), hostname="here", proc=tmp_path)
    assert owner_gone(lock("here", 9), hostname="here", proc=tmp_path)
    assert owner_gone(lock("here", 10), hostname="here", proc=tmp_path)
    assert not owner_gone(lock("elsewhere", 9), hostname="here", proc=tmp_path)
