"""Restore jobs that stop nothing: to a folder, single documents into a running stack, files that were lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backups.errors import JobInvalid
from backups.job import Job
from backups.journal import Context
from backups.manifest import DUMP
from backups.repository import Repository
from backups.restore import extract, selected
from backups.restore.folders import remove_tree
from backups.restore.selected import Selected
from backups.restore.sets import FoundSet
from backups.restore.space import Need, require_space
from backups.restore.stage import restore_dump_files
from backups.restore.swap import Target


def to_folder(job: Job, context: Context, repository: Repository, found: FoundSet) -> dict[str, Any]:
    """Options: `target`, an absolute path that is empty or new; `sources` (all of the set's), or `documents`, names.

    Result: `target`, and what extract returns, or `documents`, the names of the files.

    Raises:
        JobInvalid: the target is not absolute.
    """
    options = job.option_fields()
    target = Path(options.filled("target"))
    if not target.is_absolute():
        raise JobInvalid(f"job.options.target: expected an absolute path, got {str(target)!r}")
    names = options.texts("documents", []) if options.has("documents") else []
    sources = options.texts("sources", []) if options.has("sources") else []
    documents = _choose(job, context, repository, found, names) if names else []
    with context.step("extract") as outcome, _arriving(target, job.operation) as draft:
        if documents:
            report: dict[str, Any] = {
                "documents": extract.extract_documents(repository, found, documents, draft),
            }
        else:
            wanted = sources or sorted(found.manifest.sources)
            report = extract.extract(found, repository, draft, job.tools.pg_bin, wanted)
        outcome["files"] = report.get("files") or len(documents)
    return {"target": str(target), **report}


@contextmanager
def _arriving(target: Path, operation: str) -> Iterator[Path]:
    """A folder beside the target that takes its place once it is whole; what an attempt before left of it goes.

    Raises:
        TargetNotEmpty: before anything is written.
        TargetUnusable: it cannot be written there.
    """
    draft = target.with_name(f".{target.name}.{operation[:8]}")
    try:
        extract.require_new(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            remove_tree(draft)
            yield draft
            if target.exists():
                target.rmdir()
            draft.rename(target)
        finally:
            remove_tree(draft)
    except OSError as error:
        why = (error.strerror or "cannot be used").lower()
        raise extract.TargetUnusable(f"{error.filename or target}: {why}") from None


def readmit(job: Job, context: Context, repository: Repository, found: FoundSet, target: Target) -> dict[str, Any]:
    """Options: `documents`, names, paths or ids; or `lost` (false), all files that the database lists and nobody has.

    Result: `outcome` (added, newer, same, nowhere: how many) and `names`; for lost files `files`, how many came back.
    """
    options = job.option_fields()
    incoming = target.volumes["documents"] / f"incoming-{job.operation}"
    try:
        if options.flag("lost", False):
            return _bring_lost(context, repository, found, target, incoming)
        documents = _choose(job, context, repository, found, options.texts("documents"))
        with context.step("fetch_documents", documents=len(documents)) as outcome:
            require_space([Need(target.volumes["documents"], sum(one.bytes for one in documents))])
            outcome["bytes"] = selected.fetch_files(repository, found, {one.sha256 for one in documents}, incoming)
        with context.step("hand_back") as outcome:
            outcome["outcome"] = selected.hand_back(target, documents, incoming)
            outcome["names"] = [one.name for one in documents][:50]
        return outcome
    finally:
        remove_tree(incoming)


def _bring_lost(
    context: Context, repository: Repository, found: FoundSet, target: Target, incoming: Path
) -> dict[str, Any]:
    with context.step("find_lost") as outcome:
        entries = selected.lost_files(target, found)
        outcome["files"] = len(entries)
        require_space([Need(target.volumes["documents"], sum(entry.bytes for entry in entries))])
    with context.step("fetch_documents", documents=len(entries)) as outcome:
        outcome["bytes"] = selected.fetch_files(repository, found, {entry.sha256 for entry in entries}, incoming)
    with context.step("hand_back") as outcome:
        outcome["files"] = selected.put_files(entries, incoming, target.folders("documents").live)
    return outcome


def _choose(
    job: Job, context: Context, repository: Repository, found: FoundSet, names: Sequence[str]
) -> list[Selected]:
    """The documents of these names, looked up in the set's dump."""
    with context.step("find_documents") as outcome:
        dump = restore_dump_files(repository, found, job.work) / Path(DUMP).name
        documents = selected.choose(job.tools.pg_bin, dump, names)
        outcome["documents"] = len(documents)
    remove_tree(job.work / "postgres")
    return documents
