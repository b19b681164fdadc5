"""restic's command lines for the upkeep of a repository, and what they print, as pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backups.restic import RETRY_LOCK, Argv, messages

# Go's collector at a fifth of its usual headroom: prune holds the whole index in memory.
LOW_MEMORY = {"GOGC": "20"}
_ID = "[0-9a-f]{64}"


def forget_argv(tool: Path, snapshots: Sequence[str]) -> Argv:
    """Remove exactly these snapshots; their data stays until a prune."""
    return (*_base(tool), "forget", *snapshots)


def prune_argv(tool: Path, *, repack_bytes: int | None = None, recover: str = "") -> Argv:
    """Remove data that no snapshot needs.

    Args:
        repack_bytes: how much may be written anew; 0 only removes whole packs, for a disk that is full.
        recover: the repository's id, to free space where not even an index fits any more; unsafe when interrupted.
    """
    words = [*_base(tool), "prune"]
    if repack_bytes is not None:
        words += ["--max-repack-size", str(repack_bytes)]
    if recover:
        words += ["--unsafe-recover-no-free-space", recover]
    return tuple(words)


def check_argv(tool: Path, *, part: int, parts: int) -> Argv:
    """Check the structure and read slice `part` of `parts` of the data: all of it after `parts` runs."""
    return (*_base(tool), "check", f"--read-data-subset={part}/{parts}")


def find_argv(tool: Path, kind: str, ids: Sequence[str]) -> Argv:
    """Which snapshots need these objects; `kind`: pack, blob or tree. Nothing is answered from the cache."""
    return (*_base(tool), "--no-lock", "--no-cache", "find", f"--{kind}", *ids)


def index_argv(tool: Path, index: str) -> Argv:
    return (*_base(tool), "--no-lock", "cat", "index", index)


def snapshots_argv(tool: Path) -> Argv:
    """All snapshots as they lie in the repository: the cache still has those whose file is damaged."""
    return (*_base(tool), "--no-lock", "--no-cache", "snapshots")


def list_argv(tool: Path, what: str) -> Argv:
    """The ids of all `packs`, `index` files or `snapshots`, as they lie there."""
    return (*_base(tool), "--no-lock", "list", what)


def repair_index_argv(tool: Path) -> Argv:
    return (*_base(tool), "repair", "index")


def repair_packs_argv(tool: Path, packs: Sequence[str]) -> Argv:
    """Save what is whole in damaged packs, then remove them; copies of them are left in the working folder."""
    return (*_base(tool), "repair", "packs", *packs)


def repair_snapshots_argv(tool: Path, snapshots: Sequence[str]) -> Argv:
    """Replace damaged snapshots by ones without what is lost."""
    return (*_base(tool), "repair", "snapshots", "--forget", *snapshots)


def copy_argv(tool: Path, snapshots: Sequence[str]) -> Argv:
    """Copy snapshots from the repository that the environment calls RESTIC_FROM_REPOSITORY; none: all of them."""
    return (*_base(tool), "copy", *snapshots)


def init_from_argv(tool: Path) -> Argv:
    """Make a repository that cuts files at the same places as the one it will be filled from."""
    return (*_base(tool), "init", "--copy-chunker-params")


def archive_argv(tool: Path, snapshot: str) -> Argv:
    """All of a snapshot as a tar archive on standard output, read from the repository itself."""
    words = (str(tool), "--retry-lock", RETRY_LOCK, "--quiet", "--no-cache")
    return (*words, "dump", "--archive", "tar", snapshot, "/")


@dataclass(frozen=True, slots=True)
class Findings:
    """What `check` found. `packs`: damaged or missing packs; `trees`, `blobs`: objects its complaints name.

    `index_damaged`: the index itself could not be loaded, so nothing else was looked at.
    """

    errors: tuple[str, ...]
    packs: tuple[str, ...]
    trees: tuple[str, ...]
    blobs: tuple[str, ...]
    index_damaged: bool

    @classmethod
    def read(cls, stdout: str, stderr: str) -> Findings:
        """`stdout`: JSON lines with a `summary`; `stderr`: JSON lines, or plain ones of a restic before 0.18."""
        told = [summary for summary in messages(stdout.splitlines()) if summary.get("message_type") == "summary"]
        summary = told[-1] if told else {}
        errors = tuple(_complaints(stderr))
        text = "\n".join(errors)
        return cls(
            errors=errors,
            packs=_unique([*(summary.get("broken_packs") or ()), *re.findall(f"pack ({_ID})", text)]),
            trees=_unique(re.findall(r"tree ([0-9a-f]{8,64})\b", text)),
            blobs=_unique(re.findall(f"blob ({_ID})", text)),
            index_damaged=bool(re.search(r"error loading index|LoadIndex", text)),
        )


def snapshots_named(stdout: str) -> set[str]:
    """The snapshots in what `find` printed: JSON with lines of prose in between where a tree could not be loaded."""
    return set(re.findall(rf'"snapshot":\s*"({_ID})"', stdout)) | set(
        re.findall(rf"belongs to snapshot ({_ID})", stdout)
    )


def pack_trees(index: str, packs: Iterable[str]) -> set[str]:
    """The trees that an index file (JSON of `cat index`) places in one of `packs`."""
    wanted = set(packs)
    found = (pack for pack in json.loads(index).get("packs") or () if pack["id"] in wanted)
    return {blob["id"] for pack in found for blob in pack["blobs"] if blob["type"] == "tree"}


def _complaints(stderr: str) -> Iterable[str]:
    """The sentences that name an object; restic's advice how to go on does not concern who uses this program."""
    for line in stderr.splitlines():
        value = next(iter(messages([line])), None)
        if value is not None and value.get("message_type") != "error":
            continue
        text = (line if value is None else str(value.get("message", ""))).strip()
        if re.search(r"\b[0-9a-f]{8,64}\b", text) and not text.startswith("restic "):
            yield text


def _unique(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ids))


def _base(tool: Path) -> Argv:
    return (str(tool), "--json", "--retry-lock", RETRY_LOCK)
