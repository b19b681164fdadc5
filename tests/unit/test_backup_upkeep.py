"""Command lines of the upkeep to the letter, and what restic says of damage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backups import restic_upkeep as upkeep
from backups.errors import CredentialsInvalid
from backups.job import RepositoryPlace
from backups.maintenance import source_environment

TOOL = Path("/opt/restic")
BASE = ("/opt/restic", "--json", "--retry-lock", "2m")
PACK, TREE, BLOB, SNAPSHOT = ("7c" * 32, "0e" * 32, "90" * 32, "f5" * 32)


def test_commands() -> None:
    assert upkeep.check_argv(TOOL, part=2, parts=7) == (*BASE, "check", "--read-data-subset=2/7")
    assert upkeep.forget_argv(TOOL, ["a", "b"]) == (*BASE, "forget", "a", "b")
    assert upkeep.repair_index_argv(TOOL) == (*BASE, "repair", "index")
    assert upkeep.repair_packs_argv(TOOL, ["p"]) == (*BASE, "repair", "packs", "p")
    assert upkeep.repair_snapshots_argv(TOOL, ["s"]) == (*BASE, "repair", "snapshots", "--forget", "s")
    assert upkeep.copy_argv(TOOL, ["s"]) == (*BASE, "copy", "s")
    assert upkeep.init_from_argv(TOOL) == (*BASE, "init", "--copy-chunker-params")
    assert upkeep.archive_argv(TOOL, "s") == (
        "/opt/restic", "--retry-lock", "2m", "--quiet", "--no-cache", "dump", "--archive", "tar", "s", "/",
    )  # fmt: skip


def test_prune_has_a_way_for_a_full_disk() -> None:
    assert upkeep.prune_argv(TOOL) == (*BASE, "prune")
    assert upkeep.prune_argv(TOOL, repack_bytes=0) == (*BASE, "prune", "--max-repack-size", "0")
    recover = upkeep.prune_argv(TOOL, repack_bytes=0, recover="dd36")
    assert recover[-2:] == ("--unsafe-recover-no-free-space", "dd36")


def test_what_reads_for_damage_asks_neither_the_lock_nor_the_cache() -> None:
    assert upkeep.find_argv(TOOL, "pack", [PACK]) == (*BASE, "--no-lock", "--no-cache", "find", "--pack", PACK)
    assert upkeep.snapshots_argv(TOOL) == (*BASE, "--no-lock", "--no-cache", "snapshots")


def said(*texts: str) -> str:
    lines = [{"message_type": "error", "message": f"{text}\n"} for text in texts]
    return "\n".join(json.dumps(line) for line in [*lines, {"message_type": "exit_error", "code": 1, "message": "x"}])


def test_findings_name_packs_trees_and_blobs_and_leave_advice_out() -> None:
    summary = json.dumps({"message_type": "summary", "num_errors": 3, "broken_packs": [PACK]})
    stderr = said(
        f"pack {PACK} contains 1 errors: [blob {BLOB}: ciphertext verification failed]",
        f'tree {TREE}: file "f1" blob {BLOB} not found in index',
        "The repository contains damaged pack files.",
        f"restic repair packs {PACK}\nrestic repair snapshots --forget",
    )
    found = upkeep.Findings.read(summary, stderr)
    assert (found.packs, found.trees, found.blobs) == ((PACK,), (TREE,), (BLOB,))
    assert len(found.errors) == 2
    assert not found.index_damaged


def test_an_index_that_cannot_be_loaded_is_told_apart() -> None:
    stderr = said(f"error: error loading index {PACK}: LoadRaw(<index/7c7c>): invalid data returned")
    assert upkeep.Findings.read("", stderr).index_damaged


def test_an_older_restic_says_the_same_in_plain_lines() -> None:
    assert upkeep.Findings.read("", f"pack {PACK}: does not exist\nFatal: repository contains errors").packs == (PACK,)


def test_snapshots_are_found_between_json_and_prose() -> None:
    prose = f"Unable to load tree {TREE}\n ... which belongs to snapshot {PACK}\n"
    printed = f'[{{"object_type":"blob","snapshot":"{SNAPSHOT}"}}{prose}]'
    assert upkeep.snapshots_named(printed) == {SNAPSHOT, PACK}


def test_trees_of_a_pack_are_read_from_the_index() -> None:
    blobs = [{"id": TREE, "type": "tree"}, {"id": BLOB, "type": "data"}]
    index = json.dumps(
        {"packs": [{"id": PACK, "blobs": blobs}, {"id": SNAPSHOT, "blobs": [{"id": "x", "type": "tree"}]}]}
    )
    assert upkeep.pack_trees(index, [PACK]) == {TREE}


def place(folder: Path, name: str, url: str, **credentials: str) -> RepositoryPlace:
    file = folder / f"{name}.env"
    file.write_text("".join(f"{key}={value}\n" for key, value in credentials.items()))
    return RepositoryPlace("", url, folder / f"{name}.password", file)


def test_two_rest_servers_have_credentials_of_their_own(tmp_path: Path) -> None:
    target = place(tmp_path, "to", "rest:https://b.example.org/", RESTIC_REST_USERNAME="b", RESTIC_REST_PASSWORD="2")
    source = place(tmp_path, "of", "rest:https://a.example.org/", RESTIC_REST_USERNAME="a", RESTIC_REST_PASSWORD="p/1")
    assert source_environment(target, source) == {
        "RESTIC_FROM_REPOSITORY": "rest:https://a:p%2F1@a.example.org/",
        "RESTIC_FROM_PASSWORD_FILE": str(tmp_path / "of.password"),
    }


def test_two_object_stores_with_different_keys_are_refused(tmp_path: Path) -> None:
    target = place(tmp_path, "to", "s3:https://b.example.org/b", AWS_ACCESS_KEY_ID="b", AWS_SECRET_ACCESS_KEY="2")
    source = place(tmp_path, "of", "s3:https://a.example.org/a", AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="1")
    with pytest.raises(CredentialsInvalid, match="AWS_ACCESS_KEY_ID") as refused:
        source_environment(target, source)
    assert "AWS_SECRET" not in str(refused.value)
