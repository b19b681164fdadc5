"""Everything that can be known before anything stops: set, versions, space, and what would change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from backups import chroma
from backups.journal import Context
from backups.manifest import DUMP, Manifest
from backups.repository import Repository
from backups.restore import livestate, preview, space, versions
from backups.restore.folders import remove_tree
from backups.restore.scope import WHOLE, Scope
from backups.restore.sets import FoundSet
from backups.restore.stage import restore_dump_files
from backups.restore.swap import Target


def check_target(
    manifest: Manifest,
    target: Target,
    work: Path,
    context: Context,
    free: Callable[[Path], int] = space.free_bytes,
    scope: Scope = WHOLE,
) -> dict[str, Any]:
    """Compare the set with what the target can take; of the sources of `scope` only.

    Returns:
        `versions` of the target and `space` per file system.

    Raises:
        SetTooNew: Postgres or Chroma is older here.
        SpaceShort: a file system is too small.
    """
    with context.step("check_target") as outcome:
        outcome["versions"] = here = target_versions(target)
        versions.require_not_older({} if not scope.data else manifest.versions, here)
        left = {"models"} if target.leaves_models(manifest) else set()
        volumes = {name: folder for name, folder in target.volumes.items() if name not in left}
        outcome["space"] = space.require_space(space.needs(manifest, volumes, work, scope), free)
        return dict(outcome)


def target_versions(target: Target) -> dict[str, Any]:
    """`postgres_major` and `chroma` of the target."""
    here: dict[str, Any] = {"chroma": chroma.version()}
    if target.server is not None:
        with target.server.connect() as connection:
            here["postgres_major"] = connection.info.server_version // 10000
    return here


def preview_restore(
    found: FoundSet,
    repository: Repository,
    target: Target,
    work: Path,
    pg_bin: Path,
    context: Context,
    vectordb_url: str = "",
) -> dict[str, Any]:
    """What a restore of this set would gain and lose, see backups.restore.preview.compare."""
    with context.step("preview") as outcome:
        dump = None
        if preview.dump_is_small(found.manifest):
            dump = restore_dump_files(repository, found, work) / Path(DUMP).name
        live = livestate.live_side(target, vectordb_url)
        backup = preview.set_side(found.manifest, pg_bin, dump)
        if target.leaves_models(found.manifest):
            live, backup = (replace(side, models=frozenset()) for side in (live, backup))
        changes = preview.compare(live, backup)
        remove_tree(work / "postgres")
        outcome["documents"] = {name: changes["documents"][name] for name in ("gained_count", "lost_count")}
        return changes


def describe(found: FoundSet) -> dict[str, Any]:
    """A set in a few figures."""
    manifest = found.manifest
    return {
        "id": manifest.set_id,
        "state": found.state,
        "stack": manifest.stack,
        "environment": manifest.environment,
        "taken_at": manifest.taken_at.isoformat(),
        "snapshot_id": found.snapshot.id,
        "counts": manifest.counts,
        "bytes": sum(entry.bytes for entry in manifest.files),
        "files": len(manifest.files),
    }
