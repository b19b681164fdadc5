"""The index of words of what a restore brings back, built while the stack still serves what is there."""

from __future__ import annotations

from backups.restore.database import DatabaseNames
from backups.restore.folders import VolumeFolders
from portal.core import places
from portal.operations.context import Context
from portal.operations.faults import runtime_faults
from portal.runtime.protocol import State
from portal.runtime.spec import StackSpec
from portal.vaults.jobs import DATABASE

BUILDER = "ingest"


def index_words_ahead(ctx: Context, spec: StackSpec) -> None:
    """Have the stack's own program index the staged database beside the index in use; the swap exchanges both.

    No set holds this index, it is derived. Where it cannot be built ahead, the ingest service does it after its start,
    which takes as long as there is text.
    """
    operation = str(ctx.operation.pk)
    with ctx.step("words", "Index the words of the documents") as data, runtime_faults():
        if not _runs(spec):
            data["skipped"] = "the stack is stopped"
            return
        staged, folder = DatabaseNames(DATABASE, operation).staging, VolumeFolders.staging_name(operation)
        words = ("python", "-m", "rag_api", "build-words", "--database", staged, "--beside", folder)
        done = places.runtime().exec(spec, BUILDER, words)
        data["built"] = done.returncode == 0
    if done.returncode:
        ctx.log(f"The words are indexed after the start: {done.stderr.strip()[-300:]}", level="warning")


def _runs(spec: StackSpec) -> bool:
    up = (State.HEALTHY, State.STARTING, State.UNHEALTHY)
    return any(status.service == BUILDER and status.state in up for status in places.runtime().status(spec))
