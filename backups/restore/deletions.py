"""Documents that were deleted after a set was made stay deleted when the set comes back, if the operator wants that.

The service lists its deletions in the view `backup_deletions` and marks a document as going by `backup_delete`: nobody
finds it from then on, and the ingest process removes its vectors, words and file. All of it can be done again.
"""

from __future__ import annotations

from collections.abc import Callable

from backups.restore import sides
from backups.restore.database import DatabaseNames, Server
from backups.restore.sides import Warn

_CONSEQUENCE = "Documents deleted after the set are there again. Compare the documents of the restored service."


def carry_over(server: Server, names: DatabaseNames, before_change: Callable[[], None], warn: Warn) -> int:
    """Delete in the set's database what was deleted in the one it replaces.

    Args:
        before_change: called before the set's database is changed; it stops the work by raising.
        warn: told what was not carried over, why and what to do; a restore goes on then.

    Returns:
        How many documents would have come back.
    """
    with sides.excused(warn, "Deletions", _CONSEQUENCE):
        live, restored = sides.databases(server, names)
        with sides.reading(server, live) as connection:
            rows = connection.execute("SELECT DISTINCT document_id FROM backup_deletions").fetchall()
        if not rows:
            return 0
        before_change()
        with sides.changing(server, restored) as connection:
            wanted = [str(identity) for (identity,) in rows]
            there = connection.execute(
                "SELECT document_id FROM backup_documents WHERE document_id = ANY(%s) AND state <> 'deleting'",
                (wanted,),
            ).fetchall()
            for row in there:
                connection.execute("SELECT backup_delete(%s::text)", row)
        return len(there)
    return 0
