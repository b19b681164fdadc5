"""Bring a set next to the live data and prove that it is whole. Nothing that runs is touched."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backups import chroma
from backups.errors import RepositoryFull, SpaceShort
from backups.journal import Context
from backups.manifest import DUMP, GLOBALS, STAGED, Manifest
from backups.repository import Repository
from backups.restore import postgres, pullable, verify
from backups.restore.database import Server
from backups.restore.errors import NothingStaged
from backups.restore.exchange import write_durably
from backups.restore.folders import remove_tree
from backups.restore.scope import WHOLE, Scope
from backups.restore.sets import FoundSet
from backups.restore.swap import DERIVED, Staged, Target

RESTORED = ("documents", "vectors", "models")
STAGED_FILE = "staged.json"
SET_FILE = "set.json"


@dataclass(frozen=True, slots=True)
class Stager:
    """One set on its way into the staging places of one target.

    Attributes:
        work: folder of the operation; the dump and set.json go there.
        pg_bin: folder of pg_restore.
        scope: the sources to bring; others are left alone.
    """

    found: FoundSet
    repository: Repository
    target: Target
    work: Path
    pg_bin: Path
    context: Context
    scope: Scope = WHOLE

    @property
    def manifest(self) -> Manifest:
        return self.found.manifest

    @property
    def restored(self) -> tuple[str, ...]:
        """The volumes that get new data; see Target.leaves_models."""
        leaves = self.target.leaves_models(self.manifest)
        return tuple(name for name in RESTORED if name in self.scope and (name != "models" or not leaves))

    @property
    def emptied(self) -> tuple[str, ...]:
        """The volumes that are derived again from the restored data."""
        return (*(DERIVED if self.scope.data else ()), *(("vectors",) if self.scope.derives_vectors else ()))

    def stage(self) -> dict[str, Any]:
        """Restore and verify the sources of the scope; done already for this set, it only says so.

        Returns:
            Figures: files checked per source, vectors per collection, rows, what was left out.

        Raises:
            SetDamaged: what came out of the repository is not what set.json describes.
            RepositoryError: restic failed.
        """
        done = read_staged(self.work)
        if done is not None and done["set_id"] == self.manifest.set_id:
            return done
        self._clear()
        write_durably(self.work / SET_FILE, self.manifest.to_json())
        figures: dict[str, Any] = {
            "set_id": self.manifest.set_id, "restored": list(self.restored), "emptied": list(self.emptied),
            "sources": self.scope.to_json(), "database": self.scope.data, "files": {},
        }  # fmt: skip
        dump = self._bring()
        self._check_files(figures)
        if "vectors" in self.restored:
            self._vectors(figures)
        if dump is not None and self.target.server is not None:
            self._database(self.target.server, dump, figures)
        # Neither restic nor Chroma flushes what it writes: without this a power loss after the swap could lose files
        # that were verified.
        os.sync()
        write_durably(self.work / STAGED_FILE, json.dumps(figures))
        return figures

    def _clear(self) -> None:
        """Start afresh: restic restores slowly, and less surely, into a folder with something in it."""
        if self.target.journal() is not None:
            raise NothingStaged("this restore's data has been put in place already; it cannot be staged again")
        (self.work / STAGED_FILE).unlink(missing_ok=True)
        for name in RESTORED:
            remove_tree(self.target.folders(name).staging)
        remove_tree(self.work / "postgres")

    def _bring(self) -> Path | None:
        """Have restic restore all sources side by side; returns the folder of the dump.

        Each start of restic costs up to a second before its first byte, and on a machine of its own most of that is
        waiting; where the bandwidth is limited it is one after the other, because each of them would take the limit.
        """
        origin_count = sum(len(origins(self.manifest, name)) for name in self.restored)
        with ThreadPoolExecutor(1 if self.repository.is_limited else origin_count + 1, "bring") as side_by_side:
            parts = {name: self._begin(name, side_by_side) for name in self.restored}
            dump = side_by_side.submit(self._bring_dump) if self.scope.data and self.target.server else None
            try:
                for name, brought in parts.items():
                    self._await(name, brought)
                return dump.result() if dump else None
            finally:
                side_by_side.shutdown(wait=False, cancel_futures=True)

    def _begin(self, name: str, side_by_side: ThreadPoolExecutor) -> list[Future[None]]:
        staging = self.target.folders(name).make_staging()
        return [
            side_by_side.submit(self._restore, name, folder, staging / inner)
            for folder, inner in origins(self.manifest, name)
        ]

    def _await(self, name: str, brought: list[Future[None]]) -> None:
        with self.context.step(f"restore_{name}") as outcome:
            for part in brought:
                part.result()
            outcome["bytes"] = sum(entry.bytes for entry in self.manifest.files_of(name))

    def _restore(self, name: str, folder: str, part: Path) -> None:
        part.mkdir(parents=True, exist_ok=True)
        try:
            self.repository.restore(
                self.found.snapshot.id, folder=folder, target=part, progress=self._progress(f"restore_{name}")
            )
        except RepositoryFull:
            raise SpaceShort(f"the disk of {part} ran full") from None

    def _bring_dump(self) -> Path:
        return restore_dump_files(self.repository, self.found, self.work, self._progress("restore_postgres"))

    def _check_files(self, figures: dict[str, Any]) -> None:
        for name in self.restored:
            staging = self.target.folders(name).staging
            with self.context.step(f"check_{name}") as outcome:
                figures["files"][name] = outcome["files"] = self._verified(name, staging)
                if name != "vectors":
                    outcome["unlisted"] = len(verify.remove_unlisted(self.manifest.files_of(name), staging))
        if "models" in self.restored:
            verify.verify_models(self.manifest)
            self._pullable()

    def _pullable(self) -> None:
        models = self.target.folders("models")
        for name in pullable.keep(self.manifest.pullable, models.live, models.staging):
            self.context.journal.log(
                f"The set names the model {name} and does not hold it, and it is not here: pull it again.", "warning"
            )

    def _verified(self, name: str, root: Path) -> int:
        def advance(done: int, total: int) -> None:
            self.context.journal.progress(f"verify_{name}", done / total, {"files": done})

        return verify.verify_files(self.manifest.files_of(name), root, advance)

    def _vectors(self, figures: dict[str, Any]) -> None:
        with self.context.step("verify_vectors") as outcome:
            staging = self.target.folders("vectors").staging
            figures["vectors"] = outcome["vectors"] = verify.verify_vectors(staging, self.manifest)
            chroma.prepare(staging)

    def _database(self, server: Server, folder: Path, figures: dict[str, Any]) -> None:
        name = self.target.names.staging
        with self.context.step("restore_postgres") as outcome:
            outcome["entries"] = postgres.list_dump(self.pg_bin, folder / Path(DUMP).name)
            self.context.fence.check()
            outcome["bytes"] = (folder / Path(DUMP).name).stat().st_size
            postgres.restore_dump(self.pg_bin, server, name, folder / Path(DUMP).name)
        with self.context.step("check_postgres") as outcome, server.connect(name) as connection:
            figures["rows"] = outcome["rows"] = verify.verify_database(connection, self.manifest)
        remove_tree(self.work / "postgres")

    def _progress(self, stage: str) -> Callable[[Mapping[str, Any]], None]:
        def tell(message: Mapping[str, Any]) -> None:
            if message.get("message_type") in ("status", "summary"):
                fraction = float(message.get("percent_done", 1 if message["message_type"] == "summary" else 0))
                counts = {name: int(message.get(f"{name}_restored", 0)) for name in ("files", "bytes")}
                self.context.journal.progress(stage, fraction, counts)

        return tell


def restore_dump_files(
    repository: Repository,
    found: FoundSet,
    work: Path,
    progress: Callable[[Mapping[str, Any]], None] = lambda _: None,
) -> Path:
    """Bring a set's dump and globals into `<work>/postgres` and verify them; returns that folder."""
    folder = work / "postgres"
    remove_tree(folder)
    folder.mkdir(parents=True)
    repository.restore(found.snapshot.id, folder=f"/{STAGED}/postgres", target=folder, progress=progress)
    verify.verify_files(
        (entry for entry in found.manifest.files_of("postgres") if entry.path in (DUMP, GLOBALS)), folder
    )
    return folder


def read_staged(work: Path) -> dict[str, Any] | None:
    """What the stage of this operation found; None when none has ended well."""
    path = work / STAGED_FILE
    if not path.exists():
        return None
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def staged_of(figures: Mapping[str, Any]) -> Staged:
    """What a stage that ended well has put beside the live data."""
    return Staged(figures["set_id"], figures["restored"], figures["emptied"], figures["database"])


def read_set_file(work: Path) -> Manifest:
    """The set.json that the stage of this operation left behind.

    Raises:
        NothingStaged: there is none.
    """
    path = work / SET_FILE
    if not path.exists():
        raise NothingStaged(f"{path} is missing: this operation has staged no set")
    return Manifest.from_json(path.read_text(encoding="utf-8"))


def origins(manifest: Manifest, name: str) -> list[tuple[str, str]]:
    """(folder in the snapshot, folder inside staging) of what a source consists of; folders without files are left out.

    Documents and blobs lie in the snapshot at the absolute path they had, everything else below /set.
    """
    entries = list(manifest.files_of(name))
    if not entries:
        return []
    if name == "documents":
        return [(manifest.roots[name], "")]
    if name == "vectors":
        return [(f"/{STAGED}/vectors", "")]
    found = {
        "blobs": (f"{manifest.roots[name].rstrip('/')}/blobs", "blobs"),
        "manifests": (f"/{STAGED}/models/manifests", "manifests"),
    }
    return [origin for key, origin in found.items() if any(verify.inner_path(e).startswith(f"{key}/") for e in entries)]
