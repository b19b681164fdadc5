"""One moment of all stores: stop cross-store writes, pin everything, let go. Reads are never stopped.

Who holds what, and who lets go of it when its owner dies:

    write gate      advisory lock of connection A        the server, at once; idle_session_timeout if we hang
    removal gate    advisory lock of connection R        the server, at once
    SQLite          BEGIN IMMEDIATE of a small process   the kernel, with us; its own timer if we hang
    snapshots       transaction B; a pinned WAL reader   the server; the kernel

Order matters: the gate is taken first and B begins after it, because a snapshot taken before would miss the commit
that the lock waited for.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from backups.errors import FreezeBroken, GateBusy
from backups.job import PostgresServer
from backups.process import Running
from backups.sources import postgres, vectors
from backups.sources.postgres import Connection, Snapshot

GATE_CLASS = 1380009803
WRITE_GATE = 1
REMOVAL_GATE = 2

# How long each attempt waits for writers to let go. Whoever wants to write meanwhile waits behind us, so the first ones
# are short: one writer that takes long is waited for between attempts, when everybody else may go on.
DRAIN_SECONDS = (0.35, 0.35, 0.7, 1.4, 2.0, 2.0)
HOLD_SECONDS = 10.0
_PAUSES = (0.25, 0.5, 1.0, 2.0, 4.0)

_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a freeze gave. `milliseconds`: from the request of the write gate to the thaw; `attempt` counts from 1.

    Nothing at all commits between `taken_at` and `thawed_at`.
    """

    taken_at: datetime
    thawed_at: datetime
    milliseconds: float
    attempt: int
    hnsw_copied: int
    manifests: dict[str, bytes]


class Companion:
    """One of the two small processes of backups.freezer, started ahead of the freeze and asked word by word."""

    def __init__(self, role: str, *words: str) -> None:
        argv = (sys.executable, "-m", "backups.freezer", role, *words)
        self._running = Running(argv, env={**os.environ, "PYTHONPATH": str(_ROOT)}, cwd=_ROOT)
        self._answers = self._running.lines()

    def ask(self, word: str | None, wanted: str) -> None:
        """Send a word (None: only listen) and demand an answer.

        Raises:
            FreezeBroken: it answered otherwise, or is gone.
        """
        if word is not None:
            self._running.send(f"{word}\n")
        answer = next(self._answers, "")
        if answer != wanted:
            detail = self._running.stderr.strip().splitlines()[-1:]
            raise FreezeBroken(f"Chroma's database could not be held: {word} gave {answer or 'nothing'!r} {detail}")

    def __enter__(self) -> Companion:
        self.ask(None, "ready")
        return self

    def __exit__(self, *error: object) -> None:
        self._running.__exit__(*error)


@dataclass(frozen=True, slots=True)
class Freezer:
    """Everything a freeze needs, opened before it so that the frozen part is short.

    `snapshot` stays usable afterwards; `pinner` must be asked to copy after the thaw.
    """

    snapshot: Snapshot
    holder: Companion
    pinner: Companion
    warm: vectors.WarmCopy
    manifests: Callable[[], dict[str, bytes]]
    fault: Callable[[], None]

    def freeze(self, attempt: int, gate: Connection) -> Frozen:
        """One attempt on a connection of its own, which is closed with the thaw.

        Raises:
            GateBusy: the writers did not let go in time, or Chroma did not.
            FreezeBroken: the freeze ended before everything was taken.
        """
        began = time.monotonic()
        with held_gate(gate):
            self.holder.ask("begin", "held")
            self.warm.watch()
            self.snapshot.export()
            taken_at = datetime.now(UTC)
            self.pinner.ask("pin", "pinned")
            manifests = self.manifests()
            copied = self.warm.finish()
            self.fault()
            thawed_at = datetime.now(UTC)
            self.holder.ask("release", "released")
        milliseconds = round((time.monotonic() - began) * 1000, 1)
        gate.close()
        return Frozen(taken_at, thawed_at, milliseconds, attempt, copied, manifests)


@contextmanager
def held_gate(connection: Connection) -> Iterator[None]:
    """Hold the exclusive side of the write gate.

    Raises:
        GateBusy: not within the connection's patience.
        FreezeBroken: the server had taken it away from us before we let go.
    """
    try:
        connection.execute("SELECT pg_advisory_lock(%s, %s)", (GATE_CLASS, WRITE_GATE))
    except psycopg.errors.LockNotAvailable:
        raise GateBusy("the RAG service did not pause its writing in time") from None
    try:
        yield
    except BaseException:
        connection.close()
        raise
    try:
        found = connection.execute("SELECT pg_advisory_unlock(%s, %s)", (GATE_CLASS, WRITE_GATE)).fetchone()
    except psycopg.Error as error:
        raise FreezeBroken(f"the write gate was lost during the freeze: {error}") from None
    if found is None or not found[0]:
        raise FreezeBroken("the write gate was not ours at the end of the freeze")


def gate_connection(server: PostgresServer, patience: float) -> Connection:
    """Connection A: gives up waiting after `patience` seconds, and is ended by the server when it idles for 10 s."""
    connection = postgres.connect(server, name="backup gate")
    connection.execute(f"SET lock_timeout = {int(patience * 1000)}".encode())
    connection.execute(f"SET idle_session_timeout = {int(HOLD_SECONDS * 1000)}".encode())
    return connection


@contextmanager
def removal_gate(server: PostgresServer) -> Iterator[None]:
    """Hold the shared side of the removal gate: meanwhile no file of a document is removed.

    Raises:
        GateBusy: a removal did not end within 30 s.
    """
    with postgres.connect(server, name="backup removal gate") as connection:
        connection.execute("SET idle_session_timeout = 0; SET lock_timeout = 30000")
        try:
            connection.execute("SELECT pg_advisory_lock_shared(%s, %s)", (GATE_CLASS, REMOVAL_GATE))
        except psycopg.errors.LockNotAvailable:
            raise GateBusy("the RAG service did not finish removing files within 30 s") from None
        yield


@contextmanager
def frozen(
    server: PostgresServer,
    folder: Path,
    target: Path,
    warm: vectors.WarmCopy,
    *,
    manifests: Callable[[], dict[str, bytes]],
    fault: Callable[[], None] = lambda: None,
    log: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[Frozen, Snapshot]]:
    """Freeze the stores of a stack, thaw them, copy Chroma's pinned database; the block then reads the snapshot.

    Args:
        folder: Chroma's live folder.
        target: staged folder of the vectors, where `warm` copies to.
        manifests: reads the models' manifests; called inside the freeze.

    Raises:
        GateBusy, FreezeBroken: after the last attempt.
    """
    for attempt, patience in enumerate(DRAIN_SECONDS, start=1):
        with ExitStack() as stack:
            freezer = _opened(stack, server, folder, target, warm, manifests, fault)
            try:
                # Opened last: the server ends it when it idles.
                gate = stack.enter_context(gate_connection(server, patience))
                found = freezer.freeze(attempt, gate)
            except (GateBusy, FreezeBroken) as error:
                if attempt == len(DRAIN_SECONDS):
                    raise
                log(f"freeze attempt {attempt}: {error.message}; trying again")
                stack.close()
                time.sleep(_PAUSES[attempt - 1])
                continue
            freezer.pinner.ask("copy", "copied")
            yield found, freezer.snapshot
            return


def _opened(
    stack: ExitStack,
    server: PostgresServer,
    folder: Path,
    target: Path,
    warm: vectors.WarmCopy,
    manifests: Callable[[], dict[str, bytes]],
    fault: Callable[[], None],
) -> Freezer:
    database = folder / vectors.DATABASE
    staged = target / vectors.DATABASE
    staged.unlink(missing_ok=True)
    snapshot = stack.enter_context(postgres.snapshot(server))
    holder = stack.enter_context(Companion("hold", str(database), str(HOLD_SECONDS)))
    pinner = stack.enter_context(Companion("pin", str(database), str(staged)))
    warm.refresh()
    return Freezer(snapshot, holder, pinner, warm, manifests, fault)
