"""The portal's own database and secrets, so that a blank machine gets back plans, accounts and history too.

In a set they lie at `/set/extra/portal/`: `database.dump`, `secrets/...` and `portal.json`, which says where each
secret lay. restic encrypts all of it. Sessions are left out, and so are the passwords of the portal's own servers: a
new machine makes its own. Only `manage.py recover` reads this source; restoring a stack never touches the portal.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backups.errors import ManifestInvalid, SourceMissing, SourceUnreadable
from backups.fields import Fields
from backups.job import PostgresServer
from backups.process import ProcessError, run
from backups.sources import postgres
from backups.sources.source import Part

KIND = NAME = "portal"
DUMP_FILE, FACTS_FILE, SECRETS = "database.dump", "portal.json", "secrets"
FORMAT = 1
# Rows that would let somebody in with a cookie of long ago.
SESSIONS = "django_session"
# Passwords of servers that a new machine makes for itself.
OWN = frozenset({"postgres_password", "valkey_password", "django_secret_key"})
# Far more than passwords and keys ever take; a folder that holds more is not one of secrets.
SECRETS_LIMIT = 16 << 20


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A secret of the portal. `name`: below `secrets`, in the set as on the machine; `path`: where it lay."""

    name: str
    path: str

    @classmethod
    def read(cls, fields: Fields) -> KeptFile:
        return cls(fields.filled("name"), fields.filled("path"))


@dataclass(frozen=True, slots=True)
class Facts:
    """portal.json. `var`: the state folder of the machine it was taken on; `tables`: rows per table of the dump."""

    var: str
    taken_at: datetime
    files: tuple[KeptFile, ...]
    tables: dict[str, int]

    def to_json(self) -> str:
        files = [{"name": kept.name, "path": kept.path} for kept in self.files]
        taken_at = self.taken_at.isoformat()
        return json.dumps(
            {"format": FORMAT, "var": self.var, "taken_at": taken_at, "files": files, "tables": self.tables}
        )

    @classmethod
    def from_json(cls, text: str) -> Facts:
        """Read portal.json.

        Raises:
            ManifestInvalid: naming the path of the first value that is wrong, or a format that is too new.
        """
        try:
            value = json.loads(text)
        except ValueError as error:
            raise ManifestInvalid(f"{FACTS_FILE}: expected JSON ({error})") from None
        fields = Fields(value, "portal", ManifestInvalid)
        if fields.integer("format") > FORMAT:
            raise ManifestInvalid(
                f"portal.format: made by a newer Ragkeep (format {fields.integer('format')}, known {FORMAT})",
                "Recover it with that version of Ragkeep or a later one.",
            )
        return cls(
            var=fields.filled("var"),
            taken_at=datetime.fromisoformat(fields.filled("taken_at")),
            files=tuple(_checked(KeptFile.read(part)) for part in fields.sections("files")),
            tables={name: int(rows) for name, rows in fields.mapping("tables").items()},
        )


def _checked(kept: KeptFile) -> KeptFile:
    """A name from a set never leads out of the folder of secrets."""
    if kept.name.startswith("/") or ".." in Path(kept.name).parts:
        raise ManifestInvalid(f"portal.files: expected a name below {SECRETS}, got {kept.name[:60]!r}")
    return kept


class PortalSource:
    """Settings: `postgres` (a PostgresServer), `secrets` (folder), `files` (secrets that lie elsewhere), `var`."""

    def __init__(self, fields: Fields, pg_bin: Path) -> None:
        self._server = PostgresServer.read(fields.section("postgres"))
        self._secrets = Path(fields.filled("secrets"))
        self._elsewhere = [Path(path) for path in fields.texts("files", [])]
        self._var = fields.filled("var")
        self._dumper = postgres.Dumper(pg_bin, self._server)
        self._tables: dict[str, int] = {}
        self._taken_at = datetime.now(UTC)
        self._version = ""

    def check(self) -> int:
        """Raises: SourceMissing, ToolTooOld."""
        if not self._secrets.is_dir():
            raise SourceMissing(f"the portal's secrets {self._secrets} are not there", "Run `manage.py doctor`.")
        size = sum(path.stat().st_size for _, path in self._files())
        if size > SECRETS_LIMIT:
            raise SourceUnreadable(
                f"{self._secrets} holds {size >> 20} MiB, too much for passwords and keys",
                "Move what is no secret out of that folder.",
            )
        with postgres.snapshot(self._server) as looked_at:
            versions = looked_at.versions()
            self._version = str(versions["postgres"])
            self._dumper.check_version(int(versions["postgres_major"]))
            return looked_at.bytes() + size

    def prepare(self, folder: Path) -> None:
        """Nothing is needed ahead: it is small, and its moment is its own."""

    def freeze(self) -> None:
        """The portal is no part of the stack's moment: nobody waits for it."""

    def dump(self, folder: Path) -> None:
        with postgres.snapshot(self._server) as snapshot:
            snapshot.export()
            self._taken_at = datetime.now(UTC)
            argv = dump_argv(self._dumper.pg_bin, self._server, snapshot.id, folder / DUMP_FILE)
            try:
                run(argv, env={**os.environ, "PGPASSWORD": self._server.password().reveal()})
            except ProcessError as error:
                raise SourceUnreadable(f"the portal's database could not be dumped: {error}") from None
            self._tables = {**snapshot.rows_per_table(), f"public.{SESSIONS}": 0}
        kept = tuple(self._keep(name, path, folder / SECRETS) for name, path in self._files())
        facts = Facts(self._var, self._taken_at, kept, self._tables)
        (folder / FACTS_FILE).write_text(facts.to_json() + "\n", encoding="utf-8")

    def verify(self, folder: Path) -> Part:
        expected = {table: rows for table, rows in self._tables.items() if table != f"public.{SESSIONS}"}
        postgres.demand_rows(self._dumper.rows(folder / DUMP_FILE), expected)
        return Part(
            taken_at=self._taken_at,
            in_freeze=False,
            origin={"database": self._server.database, "var": self._var},
            details={"tables": self._tables, "postgres": self._version},
        )

    def close(self) -> None:
        """Nothing is held between the steps."""

    def _files(self) -> list[tuple[str, Path]]:
        """(name in the set, file), those of the folder first; what lies elsewhere is named by its path."""
        inside = [path for path in sorted(self._secrets.rglob("*")) if path.is_file() and path.name not in OWN]
        found = [(path.relative_to(self._secrets).as_posix(), path) for path in inside]
        outside = [path for path in self._elsewhere if path.is_file() and not path.is_relative_to(self._secrets)]
        return found + [(f"elsewhere/{path.as_posix().strip('/').replace('/', '_')}", path) for path in outside]

    def _keep(self, name: str, path: Path, folder: Path) -> KeptFile:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            shutil.copyfile(path, target)
        except OSError as error:
            raise SourceUnreadable(f"the secret {path} cannot be read: {error.strerror}") from None
        target.chmod(0o600)
        return KeptFile(name, str(path))


def dump_argv(pg_bin: Path, server: PostgresServer, snapshot_id: str, target: Path) -> tuple[str, ...]:
    """pg_dump of the portal's database; the table of sessions without its rows."""
    return (*postgres.dump_argv(pg_bin, server, snapshot_id, target), f"--exclude-table-data={SESSIONS}")


def describe(details: dict[str, Any]) -> str:
    """The portal's part of a set in a few words, e.g. `2 accounts, 1 plan`."""
    tables = details.get("tables", {})
    counted = (("auth_user", "accounts"), ("vaults_plan", "plans"), ("operations_operation", "operations"))
    return ", ".join(f"{tables.get(f'public.{table}', 0)} {word}" for table, word in counted)
