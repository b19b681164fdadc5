"""The agent's job `tree`: read what is in a set, and leave it as one file that pages and commands look things up in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from backups import trees
from backups.fetch import Fetch
from backups.job import Job
from backups.journal import Context
from backups.manifest import SET_JSON, Manifest

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
