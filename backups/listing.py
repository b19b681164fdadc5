"""The agent's job `tree`: read what is in a set, and leave it as one file that pages and commands look things up in."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from backups import trees
from backups.fetch import Fetch
from backups.job import Job
from backups.journal import Context
from backups.manifest import SET_JSON, STAGED, Manifest

TREE = "tree.sqlite3"


def tree(job: Job, context: Context) -> dict[str, Any]:
    """Write the tree of a snapshot into the operation's folder. Option `snapshot`. Result: `file`, `files`.

    Raises:
        ManifestInvalid: the set was made by a newer version.
        RepositoryError
    """
    snapshot = job.option_fields().filled("snapshot")
    repository = Fetch(job.require_repository(), job.tools.restic, job.cache)
    with context.step("tree") as told:
        manifest = Manifest.from_json(repository.text(snapshot, SET_JSON))
        nodes = [node for node in repository.ls(snapshot) if node["type"] == "file"]
        sizes = {str(node["path"]): int(node.get("size", 0)) for node in nodes}
        listing = repository.text(snapshot, trees.NAMES_JSON) if trees.NAMES_JSON in sizes else ""
        found = trees.entries(manifest, trees.names_read(listing), trees.live_entries(manifest, nodes))
        there = (replace(entry, bytes=sizes[entry.stored]) for entry in found if entry.stored in sizes)
        told["files"] = trees.write(job.work / TREE, there)
    return {"state": "ok", "file": TREE, "files": told["files"]}


def leave(job: Job, manifest: Manifest, unstored: Collection[str], log: Callable[[str, str], object]) -> None:
    """Write the tree of a set that was just stored, from what is still staged: nobody has to ask the repository.

    Args:
        unstored: paths that are not in the snapshot as they should be.
    """
    staged, absent = job.work / STAGED, set(unstored)
    listed = staged / trees.NAMES
    names = trees.names_read(listed.read_text(encoding="ascii")) if listed.exists() else []
    size = (staged / "set.json").stat().st_size
    found = (entry for entry in trees.entries(manifest, names) if entry.stored not in absent)
    try:
        trees.write(job.work / TREE, (replace(e, bytes=size) if e.stored == SET_JSON else e for e in found))
    except (OSError, sqlite3.Error) as error:  # the set is stored; its tree can be read from the repository later
        log(f"the list of its files was not kept: {error}", "warning")
