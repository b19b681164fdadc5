"""The index of words, which no set holds because it is derived: built by the stack's own program."""

from __future__ import annotations

from backups.process import Completed
from backups.restore.database import DatabaseNames
from backups.restore.folders import VolumeFolders
from portal.core import places
from portal.operations.context import Context
from portal.operations.faults import runtime_faults
from portal.runtime.spec import StackSpec
from portal.vaults.halt import Halt
from portal.vaults.jobs import DATABASE

BUILDER = "ingest"
SAID_CHARACTERS = 300


def build_words(spec: StackSpec, service: str, *options: str) -> Completed:
    """Have a service that runs build the index; the status tells whether it could.

    Raises:
        StackRuntimeError: the service does not run.
    """
    return places.runtime().exec(spec, service, ("python", "-m", "rag_api", "build-words", *options))


def what_it_said(done: Completed) -> str:
    """The end of what it said of its failure."""
    return done.stderr.strip()[-SAID_CHARACTERS:]


def index_words_ahead(ctx: Context, halt: Halt) -> None:
    """Index the staged database beside the index in use; the swap exchanges both.

    Where it cannot be built ahead, the ingest service does it after its start, which takes as long as there is text.
    """
    operation = str(ctx.operation.pk)
    with ctx.step("words", "Index the words of the documents") as data, runtime_faults():
        if not halt.is_up(BUILDER):
            data["skipped"] = "the stack is stopped"
            return
        staged, folder = DatabaseNames(DATABASE, operation).staging, VolumeFolders.staging_name(operation)
        done = build_words(halt.spec, BUILDER, "--database", staged, "--beside", folder)
        data["built"] = done.returncode == 0
    if done.returncode:
        ctx.log(f"The words are indexed after the start: {what_it_said(done)}", level="warning")
