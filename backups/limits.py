"""What a job may take of the machine: bandwidth, processors, and how far it stands back for everybody else.

The agent lowers itself for copying, dumping, verifying and storing, never for the freeze: who is held up by the freeze
must not wait behind work that matters less.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from backups.fields import Fields
from backups.process import ProcessError, run

Result = TypeVar("Result")
Log = Callable[[str], None]
Argv = tuple[str, ...]

NICEST = 19
# How far what nobody waits for stands back at least: verifying and storing a set would else slow down whoever asks or
# uploads meanwhile (docs/explanation/performance.md has the figures).
BACKGROUND = 10
# 100 GiB/s: beyond every disk and network; restic counts in 64 bits of bytes.
MOST_KIB = 100 * 2**20
MOST_PROCESSORS = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Each is off at 0 or False.

    Attributes:
        upload_kib, download_kib: KiB per second that restic moves at most.
        nice: how far processes stand back for a processor, 0 to 19.
        io_idle: disks are used only while nobody else wants them.
        processors: how many restic computes on at once.
    """

    upload_kib: int = 0
    download_kib: int = 0
    nice: int = 0
    io_idle: bool = False
    processors: int = 0

    @classmethod
    def read(cls, fields: Fields) -> Limits:
        """Raises: JobInvalid: with the path of the first value that is wrong."""
        fields.only("upload_kib", "download_kib", "nice", "io_idle", "processors")
        return cls(
            upload_kib=fields.integer_within("upload_kib", 0, MOST_KIB, 0),
            download_kib=fields.integer_within("download_kib", 0, MOST_KIB, 0),
            nice=fields.integer_within("nice", 0, NICEST, 0),
            io_idle=fields.flag("io_idle", False),
            processors=fields.integer_within("processors", 0, MOST_PROCESSORS, 0),
        )

    def as_dict(self) -> dict[str, Any]:
        """Only what is limited, as a plan stores it and a job carries it."""
        return {name: value for name, value in asdict(self).items() if value}


NONE = Limits()


def in_background(limits: Limits) -> Limits:
    """The limits of work that nobody waits for."""
    return replace(limits, nice=max(limits.nice, BACKGROUND))


def restic_options(limits: Limits) -> Argv:
    """restic's options for the bandwidth, in KiB per second."""
    upload = ("--limit-upload", str(limits.upload_kib)) if limits.upload_kib else ()
    download = ("--limit-download", str(limits.download_kib)) if limits.download_kib else ()
    return (*upload, *download)


def limited_argv(argv: Argv, limits: Limits) -> Argv:
    """A restic command line with its bandwidth limited; options come before the command."""
    return (argv[0], *restic_options(limits), *argv[1:])


def restic_environment(limits: Limits) -> dict[str, str]:
    """What restic's environment says about processors."""
    return {"GOMAXPROCS": str(limits.processors)} if limits.processors else {}


def idle_argv(thread: int) -> Argv:
    """Put one thread, and whatever it starts from now on, into the idle class of the disks' scheduler."""
    return ("ionice", "-c", "3", "-p", str(thread))


def lower(limits: Limits, log: Log) -> None:
    """Stand back from now on: this thread, the threads and the processes that it starts later. There is no way up."""
    if limits.nice > os.getpriority(os.PRIO_PROCESS, 0):
        os.setpriority(os.PRIO_PROCESS, 0, limits.nice)
    if limits.io_idle:
        _idle(log)


def lowered(limits: Limits, log: Log, work: Callable[[], Result]) -> Result:
    """Do `work` in a thread that stands back, while ours stays as it is. Processes that it starts end with it."""
    if not limits.nice and not limits.io_idle:
        return work()
    with ThreadPoolExecutor(1, "lowered", initializer=lower, initargs=(limits, log)) as thread:
        return thread.submit(work).result()


def _idle(log: Log) -> None:
    if shutil.which("ionice") is None:
        log("the program ionice (package util-linux) is not installed: disks are used like by anybody else")
        return
    try:
        run(idle_argv(threading.get_native_id()), timeout=10)
    except ProcessError as error:
        log(f"disks are used like by anybody else: {error}")
