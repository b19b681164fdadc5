"""Trees of sets: read in the background, kept as files beside the portal, and what is brought with their help."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User

from backups import fetch, reach
from backups.fetch import Fetch
from backups.fields import Fields
from backups.job import RepositoryPlace
from backups.listing import TREE
from backups.trees import Node, Tree
from portal.core import places
from portal.core.services import audit
from portal.operations.context import Context
from portal.operations.errors import OperationFailed, OperationRefused
from portal.operations.models import ACTIVE, Operation
from portal.operations.registry import Outcome, Params, operation_kind
from portal.operations.services import operation_start
from portal.vaults.agent import run_agent
from portal.vaults.jobs import agent_job, repository_place
from portal.vaults.models import BackupSet, Repository

KIND = "set.index"
# What all trees together may take; those that nobody looked at for longest go first and are read again when wanted.
KEPT_BYTES = 512 << 20


def tree_file(set_id: str) -> Path:
    return Path(settings.VAR_DIR) / "control" / "trees" / f"{set_id}.sqlite3"


def tree_open(found: BackupSet) -> Tree | None:
    """The tree of a set, None when it was not read yet. Close it, or use it as a context manager."""
    file = tree_file(found.pk)
    try:
        tree = Tree(file)
    except FileNotFoundError:
        return None
    os.utime(file)
    return tree


def tree_index(*, found: BackupSet, user: User | None = None) -> Operation:
    """Have what is in a set read in the background.

    Raises:
        OperationRefused: it is gone from its repository.
    """
    return operation_start(kind=KIND, target=f"stack:{found.stack}", params={"set": found.pk}, user=user)


def tree_reading(found: BackupSet) -> Operation | None:
    """The operation that reads what is in the set now, else the last one that tried."""
    tried = Operation.objects.filter(kind=KIND, params__set=found.pk).order_by("-created_at")
    return tried.filter(state__in=ACTIVE).first() or tried.first()


def tree_adopt(found: BackupSet, work: Path) -> None:
    """Keep the tree that an agent left in the folder of its operation, if it left one."""
    made, file = work / TREE, tree_file(found.pk)
    if made.exists():  # not when an earlier attempt had moved it before it was killed
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made.replace(file)
        trees_sweep()


def trees_sweep() -> None:
    """Remove the trees of sets that are gone, and the ones unused for longest when all together take too much."""
    known = {file.stem: (file, found) for file in tree_file("x").parent.glob("[!.]*.sqlite3") if (found := _stat(file))}
    there = set(BackupSet.objects.filter(pk__in=known, removed_at=None).values_list("pk", flat=True))
    total = 0
    for name, (file, found) in sorted(known.items(), key=lambda item: item[1][1].st_mtime, reverse=True):
        over = total > 0 and total + found.st_size > KEPT_BYTES
        if name not in there or over:
            file.unlink(missing_ok=True)
        else:
            total += found.st_size


def _stat(file: Path) -> os.stat_result | None:
    """None for a file that another worker has just removed."""
    try:
        return file.stat()
    except FileNotFoundError:
        return None


def _check(_target: str, params: Params) -> None:
    if not BackupSet.objects.filter(pk=params.get("set"), removed_at=None).exclude(snapshot_id="").exists():
        raise OperationRefused(
            f"The set {params.get('set')} is not in a repository.", code="set_gone", remedy="Choose another set."
        )


@operation_kind(
    KIND,
    title="Read what is in a set",
    claims=lambda _target, _params: [],
    joins=lambda _target, params: str(params["set"]),
    check=_check,
)
def index(ctx: Context) -> Outcome:
    """Read the tree of a set; takes no claim, because reading a repository needs no lock."""
    found = BackupSet.objects.select_related("repository").get(pk=ctx.params["set"])
    repository, snapshot = _nearest(found)
    options = {"snapshot": snapshot}
    result = run_agent(ctx, agent_job(ctx, "tree", repository=repository, set_id=found.pk, options=options))
    tree_adopt(found, ctx.work)
    return Outcome({"set": found.pk, "files": result["files"]})


@dataclass(frozen=True, slots=True)
class Download:
    """Bytes on their way to somebody. `size` is None where only the end tells. `fetch.stop` ends it from anywhere."""

    name: str
    size: int | None
    blocks: Iterator[bytes]
    fetch: Fetch


def set_download(*, found: BackupSet, tree: Tree, node: Node, user: User | None = None) -> Download:
    """Begin to bring a file, or a folder as a zip archive; the deed is audited whether it is read to its end or not.

    Raises:
        OperationRefused: the set is gone.
        OperationFailed: restic is not installed.
    """
    repository, snapshot = _opened(found, node, user)
    if not node.is_folder:
        blocks = repository.file(snapshot, node.stored, sha256=node.sha256)
        return Download(fetch.portable(node.name), node.bytes, blocks, repository)
    batches = fetch.batches(fetch.archive_names(node, tree.files(node)), tree.bytes_below)
    name = fetch.portable(node.name) if node.name else found.pk
    blocks = repository.zipped(snapshot, batches, at=found.taken_at)
    return Download(f"{name}.zip", None, blocks, repository)


def set_files(
    *, found: BackupSet, tree: Tree, node: Node, user: User | None = None
) -> Iterator[tuple[fetch.Wanted, Iterator[bytes]]]:
    """The files below a node, each with its bytes, which must be read before the next one is asked for; audited.

    Raises:
        OperationRefused: the set is gone.
        OperationFailed: restic is not installed.
    """
    repository, snapshot = _opened(found, node, user)
    batches = fetch.batches(fetch.archive_names(node, tree.files(node)), tree.bytes_below)
    return repository.files(snapshot, batches)


def _opened(found: BackupSet, node: Node, user: User | None) -> tuple[Fetch, str]:
    """A repository that has the set, and its snapshot there; written down before anything is read."""
    if found.removed_at:
        raise OperationRefused(
            f"The set {found.pk} is no longer in its repository.", code="set_gone", remedy="Choose another set."
        )
    restic = places.runtime().paths.tool("restic")
    if restic is None:
        raise OperationFailed("The program restic is not installed.", remedy="`python3 manage.py up` installs it.")
    repository, snapshot = _nearest(found)
    data = {"path": node.path, "bytes": node.bytes, "repository": repository.name}
    audit(action="set.fetched", target=f"set:{found.pk}", user=user, data=data)
    return Fetch(_place(repository), restic, Path(settings.VAR_DIR) / "operations" / "cache"), snapshot


def _nearest(found: BackupSet) -> tuple[Repository, str]:
    """The set's own repository, or when that does not answer one that has a copy; with the snapshot's id there."""
    own = (found.repository, found.snapshot_id)
    copies = [(copy.repository, copy.snapshot_id) for copy in found.copies.select_related("repository")]
    if not copies or _answers(own[0]):
        return own
    return next((copy for copy in copies if _answers(copy[0])), own)


def _answers(repository: Repository) -> bool:
    if repository.is_local:
        return Path(repository.url).is_dir()
    return reach.trouble(_place(repository)) is None


def _place(repository: Repository) -> RepositoryPlace:
    return RepositoryPlace.read(Fields(repository_place(repository), "repository"))
