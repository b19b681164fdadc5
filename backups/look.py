"""The agent's job that tries further sources out before a set depends on them."""

from __future__ import annotations

from typing import Any

from backups.errors import BackupError
from backups.job import Job
from backups.journal import Context
from backups.sources.further import open_sources


def look(job: Job, context: Context) -> dict[str, Any]:
    """Look whether every further source of the stack is as a backup needs it.

    Result: `sources`, name -> null, or the error as the agent tells errors.
    """
    sources = open_sources(job.require_stack().extra, job)
    found: dict[str, Any] = {}
    with context.step("look"):
        for name, source in sources.items():
            try:
                source.check()
                found[name] = None
            except BackupError as error:
                found[name] = error.to_json()
            finally:
                source.close()
    return {"state": "ok", "sources": found}
