"""The machine: programs, disk, memory, processors for models, clock, names, the kernel's limits."""

from __future__ import annotations

import platform
import resource
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any

from backups import process
from portal.doctor.findings import ERROR, OK, WARNING, Finding, Subject

TOOLS = ("restic", "nginx", "postgres", "valkey-server", "chroma")
GIB = 2**30
NEEDED_DISK, NEEDED_MEMORY = 3 * GIB, 3 * GIB // 2
# 2024-01-01: a clock before it is certainly wrong, and TLS, schedules and set ids go wrong with it.
EARLIEST_TIME = 1_704_067_200
# What was written later than now by more than this shows that the clock was put back.
BACK_SECONDS = 300.0
NAME_SECONDS = 3.0
NEEDED_FILES, NEEDED_BACKLOG = 1024, 511
KERNEL = Path("/proc/sys")
NVIDIA = Path("/proc/driver/nvidia/version")


def check_python(_: Subject) -> Iterator[Finding]:
    yield Finding("python", OK, f"{platform.python_version()} at {sys.executable}")


def check_tools(subject: Subject) -> Iterator[Finding]:
    """The programs that services of this host are made of; containers bring their own."""
    for name in () if subject.in_containers else TOOLS:
        path = subject.paths.tool(name)
        if path is None:
            yield Finding(name, ERROR, "is not installed", "manage.py up installs it")
        elif name == "restic":
            yield _runs(name, [str(path), "version"])
        else:
            yield Finding(name, OK, str(path))


def _runs(name: str, argv: list[str]) -> Finding:
    try:
        said = process.run(argv, timeout=20).stdout.strip().partition("\n")[0]
    except process.ProcessError as error:
        return Finding(name, ERROR, str(error), "remove it from var/tools/bin; manage.py up fetches it again")
    return Finding(name, OK, said or argv[0])


def check_disk(subject: Subject) -> Iterator[Finding]:
    usage = shutil.disk_usage(existing(subject.paths.var))
    text = f"{megabytes(usage.free)} free of {megabytes(usage.total)} at {subject.paths.var}"
    if usage.free < NEEDED_DISK:
        remedy = "free some space; a restore needs as much as the data once more"
        yield Finding("disk", WARNING, text, remedy, "clean-up")
    else:
        yield Finding("disk", OK, text)


def check_memory(_: Subject) -> Iterator[Finding]:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    text = f"{megabytes(values['MemAvailable'])} available of {megabytes(values['MemTotal'])}"
    short = values["MemAvailable"] < NEEDED_MEMORY
    remedy = "stop other programs, or give the machine more memory" if short else ""
    yield Finding("memory", WARNING if short else OK, text, remedy)


def check_gpu(_: Subject) -> Iterator[Finding]:
    """NVIDIA only: what the model servers here can use."""
    if not NVIDIA.exists():
        yield Finding("gpu", OK, "none; models run on the processors")
        return
    query = ["nvidia-smi", "--query-gpu=name,memory.free,memory.total", "--format=csv,noheader"]
    try:
        told = process.run(query, timeout=20).stdout.strip().splitlines()
    except process.ProcessError as error:
        yield Finding("gpu", WARNING, f"its driver does not answer: {error}", "install or update NVIDIA's driver")
        return
    for line in told:
        name, *memory = (part.strip() for part in line.rsplit(",", 2))
        if len(memory) == 2:
            yield Finding("gpu", OK, f"{name}, {memory[0]} free of {memory[1]}")
        else:
            yield Finding("gpu", WARNING, f"its driver says: {line}", "install or update NVIDIA's driver")


def check_clock(subject: Subject) -> Iterator[Finding]:
    now, last = time.time(), _last_written(subject.paths.var)
    remedy = "set the machine's clock, and have a time service keep it right"
    if now < EARLIEST_TIME:
        yield Finding("clock", ERROR, f"says {time.ctime()}", remedy)
    elif last - now > BACK_SECONDS:
        yield Finding("clock", ERROR, f"says {time.ctime()}, but files here were written at {time.ctime(last)}", remedy)
    else:
        yield Finding("clock", OK, f"{time.strftime('%Y-%m-%d %H:%M:%S %Z')}")


def _last_written(var: Path) -> float:
    """When a file that each start writes was written; 0 before the first one."""
    files = [*var.glob("control/state.json"), *var.glob("stacks/*/state.json"), *var.glob("run/*")]
    return max(map(_written, files), default=0.0)


def _written(file: Path) -> float:
    # Files of programs that run come and go.
    with suppress(OSError):
        found = file.stat()
        return found.st_mtime if S_ISREG(found.st_mode) else 0.0
    return 0.0


def check_names(subject: Subject) -> Iterator[Finding]:
    """Whether names are found: this machine's own, and those that the installation depends on."""
    names = ["localhost", *dict.fromkeys(subject.hosts)]
    pool = ThreadPoolExecutor(max_workers=len(names), thread_name_prefix="names")
    asked = {name: pool.submit(socket.getaddrinfo, name, None) for name in names}
    wait(asked.values(), timeout=NAME_SECONDS)
    # A resolver that hangs does so for longer than anybody waits for a doctor.
    pool.shutdown(wait=False, cancel_futures=True)
    lost = [name for name, answer in asked.items() if not _found(answer)]
    for name in lost:
        remedy = "add it to /etc/hosts" if name == "localhost" else "correct the name, or the machine's DNS servers"
        yield Finding("dns", ERROR, f"the name {name} is not found", remedy)
    if not lost:
        yield Finding("dns", OK, f"finds {', '.join(names)}")


def _found(answer: Future[Any]) -> bool:
    return answer.done() and answer.exception() is None


def check_kernel(_: Subject) -> Iterator[Finding]:
    """Limits that services run into under load."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wrong = list[Finding]()
    if files != resource.RLIM_INFINITY and files < NEEDED_FILES:
        remedy = f"raise it: ulimit -n {NEEDED_FILES}, or LimitNOFILE= of its service"
        wrong.append(Finding("kernel", ERROR, f"a process may open only {files} files", remedy))
    backlog = _kernel("net/core/somaxconn")
    if backlog is not None and backlog < NEEDED_BACKLOG:
        remedy = f"sysctl -w net.core.somaxconn={NEEDED_BACKLOG + 1}"
        wrong.append(Finding("kernel", WARNING, f"only {backlog} connections may wait at a port", remedy))
    if _kernel("vm/overcommit_memory") == 2:
        text = "it refuses memory that programs reserve and do not use"
        wrong.append(Finding("kernel", WARNING, text, "sysctl -w vm.overcommit_memory=1"))
    yield from wrong
    if not wrong:
        yield Finding("kernel", OK, f"{'any number of' if files < 0 else files} open files, {backlog or '?'} waiting")


def _kernel(name: str) -> int | None:
    try:
        return int((KERNEL / name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def megabytes(amount: int) -> str:
    return f"{amount / 2**20:.0f} MB"


def existing(path: Path) -> Path:
    """The path itself, or its nearest folder that exists."""
    return path if path.exists() else existing(path.parent)
