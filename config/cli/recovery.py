"""The way of a lost installation onto a blank machine, step by step; each can be repeated after an interruption.

    open the repository -> choose the set -> secrets -> portal's database -> its rows -> data of the stack -> start ->
    questions

`var/recovery/` holds the notes and what was brought already; it is removed at the end.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backups.agent import registered
from backups.errors import BackupError
from backups.fields import Fields
from backups.job import Job
from backups.journal import Context, Fence, Journal
from backups.repository import Repository
from backups.restore import portal as portal_part
from backups.restore import sets
from backups.restore.database import Server
from backups.restore.errors import CanaryFailed, CanaryUnreached
from backups.restore.portal import PortalPart
from backups.restore.sets import LATEST, FoundSet
from backups.secret import Secret
from config.cli import first_use, up
from config.cli.installation import CHOSEN, Installation, admin_password, ensure_secrets, open_installation
from config.cli.output import Output, UserError
from config.cli.recovery_notes import Notes, read_notes, recovery_folder, write_notes
from config.cli.recovery_place import Asked, kept_place
from portal.runtime.compose.record import write_private
from portal.runtime.paths import CONTROL, RuntimePaths
from portal.runtime.state import read_state

PORTAL = "portal"
VOLUMES = ("documents", "vectors", "models", "index")


@dataclass(frozen=True, slots=True)
class Report:
    """How a recovery ended. `settled`: see portal_settle; `seconds`: from the command to answered questions."""

    installation: Installation
    found: FoundSet
    settled: Mapping[str, Any]
    portal: bool
    password: Secret | None
    canary: Mapping[str, Any]
    seconds: float
    steps: Mapping[str, float]


@contextmanager
def in_sentences() -> Iterator[None]:
    """Turn an error of the backup library into one for the caller."""
    try:
        yield
    except BackupError as error:
        raise UserError(error.message, error.remedy, error.code) from None


class Recovery:
    """One recovery at work.

    Args:
        asked: the repository as the caller names it.
        wanted: id of a set, or `latest`.
    """

    def __init__(self, *, asked: Asked, wanted: str, port: int | None, listen: str | None, output: Output) -> None:
        self._asked, self._wanted, self._output = asked, wanted, output
        self._port, self._listen = port, listen
        self._paths = RuntimePaths.discover()
        self._folder = recovery_folder(self._paths)
        self._seconds: dict[str, float] = {}
        self._notes: Notes | None = read_notes(self._folder)

    def run(self) -> Report:
        """Do what is not done yet.

        Raises:
            UserError: with what is wrong and what to do; the same command goes on from there.
        """
        self._refuse_data()
        self._output.step("opening the repository")
        with in_sentences(), self._asked.placed(self._folder) as self._place:
            return self._recover()

    def _recover(self) -> Report:
        found = self._open()
        notes = self._begin(found)
        self._take_settings(found)
        installation = open_installation(port=self._port, listen=self._listen)
        up.check_ports(installation)
        with ThreadPoolExecutor(max_workers=1) as beside:
            with self._timed("portal"):
                part = self._portal_part(found)
                self._secrets(installation, part)
                self._portal_database(installation, part)
                settled = self._settle(installation, found, part)
            control = beside.submit(up.start, installation, installation.control, self._output)
            with self._timed("data"):
                self._data(installation, found)
            with self._timed("start"):
                self._start(installation, control)
            with self._timed("questions"):
                canary = self._questions(installation, found)
        seconds = round(time.time() - notes.began, 1)
        self._finish(installation, found, settled, seconds)
        password = None if part else admin_password(installation)
        return Report(installation, found, settled, part is not None, password, canary, seconds, dict(self._seconds))

    def _refuse_data(self) -> None:
        """A machine that has an installation is no blank one; what lies there is never written over."""
        if self._notes is not None:
            return
        stacks = self._paths.var / "stacks"
        if read_state(self._paths.root(CONTROL)) is not None or (stacks.is_dir() and any(stacks.iterdir())):
            raise UserError(
                f"there is an installation in {self._paths.var} already; a recovery never writes over one",
                "to go back in time here use manage.py restore; to give this installation up run manage.py clean, "
                "or name another folder in RAGKEEP_VAR",
                "not_blank",
            )

    def _open(self) -> FoundSet:
        """Prove the key, say what is there, and choose the set."""
        repository = self._repository()
        repository.version()
        known = repository.open()
        self._place = replace(self._place, id=known)
        if self._notes is not None:
            self._refuse_other(known)
        snapshots = sets.set_snapshots(repository)
        hosts = sorted({snapshot.host for snapshot in snapshots})
        span = f", {snapshots[0].time:%Y-%m-%d} to {snapshots[-1].time:%Y-%m-%d}" if snapshots else ""
        self._output.line(f"The key opens the repository {known[:8]}: {len(snapshots)} sets of {_joined(hosts)}{span}.")
        wanted = self._notes.set_id if self._notes else self._wanted
        if wanted == LATEST and len(hosts) > 1:
            raise UserError(
                f"the repository holds sets of {_joined(hosts)}; the newest of all need not be the one you mean",
                f"name one: --set {snapshots[-1].set_id} is the newest, of {snapshots[-1].host}",
                "several_hosts",
            )
        return sets.find_set(repository, wanted)

    def _refuse_other(self, known: str) -> None:
        if self._notes is not None and self._notes.repository != known:
            raise UserError(
                f"the recovery that was begun here is of the repository {self._notes.repository[:8]}, not {known[:8]}",
                "name that repository, or start over with manage.py clean",
                "other_recovery",
            )

    def _begin(self, found: FoundSet) -> Notes:
        manifest = found.manifest
        self._output.line(
            f"Set {manifest.set_id}, taken {manifest.taken_at:%Y-%m-%d %H:%M} UTC: "
            f"{manifest.counts.get('documents', 0):,} documents"
            + ("" if portal_part.entries_of(found) else "; without the portal, which starts anew")
        )
        if self._notes is None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._notes = Notes(self._place.id, manifest.set_id)
            self._save()
        return self._notes

    def _take_settings(self, found: FoundSet) -> None:
        """What the stack was started with; a value of our own environment wins."""
        given: dict[str, Any] = {}
        with suppress(BackupError, ValueError):
            given = json.loads(self._repository().dump(found.snapshot.id, "/set/config/state.json")).get("settings", {})
        for name in CHOSEN:
            if given.get(name) and name not in os.environ:
                os.environ[name] = str(given[name])
        os.environ.setdefault("ENVIRONMENT", found.manifest.environment)

    def _portal_part(self, found: FoundSet) -> PortalPart | None:
        folder = self._folder / PORTAL
        if not portal_part.entries_of(found):
            return None
        if self._is_done("fetched"):
            return portal_part.open_part(found, folder)
        self._output.step("bringing back the portal")
        part = portal_part.fetch(found, self._repository(), folder)
        self._done("fetched")
        return part

    def _secrets(self, installation: Installation, part: PortalPart | None) -> None:
        """Secrets that came with the set first: what is missing afterwards is made anew."""
        folder = installation.secret(installation.control, "x").parent
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, _, file in part.secrets() if part else ():
            # What is sealed lies among them, so they are bytes.
            write_private(folder / name, file.read_bytes())
        ensure_secrets(installation)

    def _portal_database(self, installation: Installation, part: PortalPart | None) -> None:
        installation.runtime.apply(installation.control, services=["postgres"])
        if part is None or self._is_done("database"):
            return
        self._output.step("restoring the portal's database")
        location = installation.runtime.locate(installation.control)
        password = Secret.from_file(location.secret("postgres_password"))
        server = Server("127.0.0.1", location.port("postgres"), "portal", password)
        portal_part.put_in_place(part, self._tool("pg_restore").parent, server, "portal")
        self._done("database")

    def _settle(self, installation: Installation, found: FoundSet, part: PortalPart | None) -> dict[str, Any]:
        first_use.open_portal(installation)
        from portal.vaults import recover

        recover.schema_update()
        folder = installation.secret(installation.control, "x").parent
        arrival = recover.Arrival(
            found=found,
            place=kept_place(self._place, folder, recover.repository_name(self._place.id)),
            old_var=part.facts.var if part else "",
            files={path: str(folder / name) for name, path, _ in part.secrets()} if part else {},
        )
        settled = recover.portal_settle(arrival=arrival)
        first_use.ensure_portal(installation)
        return {**settled, "plans_held": recover.plans_hold()}

    def _data(self, installation: Installation, found: FoundSet) -> None:
        """The stack's data, by the same agent jobs as any restore."""
        if self._is_done("data"):
            return
        location = installation.runtime.locate(installation.stack)
        for volume in VOLUMES:
            (location.volume(volume) / "live").mkdir(parents=True, exist_ok=True, mode=0o700)
        installation.runtime.apply(installation.stack, services=["postgres"])
        self._agent(installation, found, "stage", repository=True, options={"host": found.manifest.host})
        # There is no live data that revocations could be read from.
        self._agent(installation, found, "swap", options={"revocations": False})
        self._done("data")

    def _start(self, installation: Installation, control: Future[dict[str, str]]) -> None:
        up.start_stack(installation, self._output)
        control.result()
        up.demand_health(installation)

    def _questions(self, installation: Installation, found: FoundSet) -> dict[str, Any]:
        try:
            return self._agent(installation, found, "canary")
        except (CanaryFailed, CanaryUnreached) as differs:
            raise UserError(
                differs.message,
                "the data is in place and everything runs: read manage.py logs api, then give the same command again; "
                "for another set start over with manage.py clean",
                differs.code,
            ) from None

    def _finish(self, installation: Installation, found: FoundSet, settled: Mapping[str, Any], seconds: float) -> None:
        from portal.operations.errors import OperationError
        from portal.vaults.models import Repository
        from portal.vaults.recover import recovery_proven
        from portal.vaults.repositories import repository_adopt

        recovery_proven(set_id=found.manifest.set_id, seconds=seconds)
        with suppress(OperationError):
            # Sets that are newer than the portal's database are listed again.
            repository_adopt(repository=Repository.objects.get(name=settled["repository"]))
        self._agent(installation, found, "discard")
        shutil.rmtree(self._work(), ignore_errors=True)
        shutil.rmtree(self._folder)

    def _agent(
        self,
        installation: Installation,
        found: FoundSet,
        kind: str,
        *,
        repository: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """One of the agent's jobs, in this process; see backups.restore.jobs for what each returns."""
        from portal.vaults.jobs import envelope, stack_place

        assert self._notes is not None
        work = self._work()
        work.mkdir(parents=True, exist_ok=True, mode=0o700)
        value = {
            **envelope(kind, self._notes.operation, 1, work),
            "stack": stack_place(installation.stack),
            "repository": None,
            "set": found.manifest.set_id,
            "options": dict(options or {}),
        }
        job = Job.read(Fields(value, "job"))
        job = replace(job, repository=self._place) if repository else job
        return registered()[kind](job, Context(Journal(_Teller(self._output)), Fence(job.fence, job.attempt)))

    def _work(self) -> Path:
        assert self._notes is not None
        return self._paths.var / "operations" / self._notes.operation

    def _repository(self) -> Repository:
        return Repository(self._place, self._tool("restic"), self._paths.var / "operations" / "cache")

    def _tool(self, name: str) -> Path:
        found = self._paths.tool(name)
        if found is None:
            raise UserError(f"the program {name} is not installed", "run manage.py doctor", "tool_missing")
        return found

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._seconds[name] = round(time.monotonic() - began, 1)

    def _is_done(self, step: str) -> bool:
        return self._notes is not None and step in self._notes.done

    def _done(self, step: str) -> None:
        assert self._notes is not None
        self._notes.done.append(step)
        self._save()

    def _save(self) -> None:
        assert self._notes is not None
        write_notes(self._folder, self._notes)


class _Teller(io.StringIO):
    """Says the steps of a job where its journal would be written."""

    TITLES = {
        "check_target": "looking whether there is room",
        "restore_documents": "bringing back documents",
        "restore_vectors": "bringing back vectors",
        "restore_models": "bringing back models",
        "restore_postgres": "bringing back the database",
        "verify_vectors": "verifying vectors",
        "swap": "putting the data in place",
        "canary": "asking the set's questions",
    }

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def write(self, text: str) -> int:
        with suppress(ValueError):
            line = json.loads(text)
            if line.get("type") == "step" and line.get("state") == "started" and line.get("name") in self.TITLES:
                self._output.step(self.TITLES[line["name"]])
            elif line.get("type") == "log" and line.get("level") != "info":
                self._output.line(str(line["message"]))
        return len(text)


def _joined(names: list[str]) -> str:
    return " and ".join(names) if names else "no stack"
