"""`manage.py doctor`: look for what is wrong, and say what to do about each finding."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from backups import process
from config.cli.installation import Installation, open_installation
from config.cli.output import json_option, megabytes, speaking
from portal.runtime import leftovers
from portal.runtime.protocol import State

OK, WARNING, ERROR = "ok", "warning", "error"
TOOLS = ("restic", "nginx", "postgres", "valkey-server", "chroma")
NEEDED_DISK, NEEDED_MEMORY = 3 * 2**30, 3 * 2**29
# 2024-01-01: a clock before it is certainly wrong, and TLS, schedules and set ids go wrong with it.
EARLIEST_TIME = 1_704_067_200


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `remedy` is empty when it is well."""

    name: str
    state: str
    message: str
    remedy: str = ""


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Check this machine and this installation; exit status 0 only when no finding is an error."""
    with speaking(as_json=as_json) as output:
        installation = open_installation()
        findings = [finding for check in CHECKS for finding in check(installation)]
        well = all(finding.state != ERROR for finding in findings)
        fields = {"ok": well, "findings": [asdict(finding) for finding in findings]}
        output.result(fields, "\n".join(map(_row, findings)))
    sys.exit(0 if well else 1)


def _row(finding: Finding) -> str:
    remedy = f"\n{'':<22}what to do: {finding.remedy}" if finding.remedy else ""
    return f"{finding.state:<8} {finding.name:<12} {finding.message}{remedy}"


def check_python(_: Installation) -> Iterator[Finding]:
    yield Finding("python", OK, f"{platform.python_version()} at {sys.executable}")


def check_tools(installation: Installation) -> Iterator[Finding]:
    for name in TOOLS:
        path = installation.paths.tool(name)
        if path is None:
            yield Finding(name, ERROR, "is not installed", "manage.py up installs it")
        elif name == "restic":
            yield _runs(name, [str(path), "version"])
        else:
            yield Finding(name, OK, str(path))


def _runs(name: str, argv: list[str]) -> Finding:
    try:
        said = process.run(argv, timeout=20).stdout.strip().splitlines()[0]
    except process.ProcessError as error:
        return Finding(name, ERROR, str(error), "remove it from var/tools/bin; manage.py up fetches it again")
    return Finding(name, OK, said)


def check_ports(installation: Installation) -> Iterator[Finding]:
    taken = {p: who for group in installation.groups for p, who in installation.runtime.taken_ports(group).items()}
    for port, holder in sorted(taken.items()):
        yield Finding(
            "port", ERROR, f"{port} is held by {holder}", "stop it, or choose others with manage.py up --port"
        )
    if not taken:
        yield Finding("ports", OK, f"{installation.port} and those above it are free or ours")


def check_disk(installation: Installation) -> Iterator[Finding]:
    usage = shutil.disk_usage(existing(installation.paths.var))
    text = f"{megabytes(usage.free)} free of {megabytes(usage.total)} at {installation.paths.var}"
    if usage.free < NEEDED_DISK:
        yield Finding("disk", WARNING, text, "free some space; a restore needs as much as the data once more")
    else:
        yield Finding("disk", OK, text)


def check_memory(_: Installation) -> Iterator[Finding]:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    text = f"{megabytes(values['MemAvailable'])} available of {megabytes(values['MemTotal'])}"
    short = values["MemAvailable"] < NEEDED_MEMORY
    remedy = "stop other programs, or give the machine more memory" if short else ""
    yield Finding("memory", WARNING if short else OK, text, remedy)


def check_permissions(installation: Installation) -> Iterator[Finding]:
    var = existing(installation.paths.var)
    if not os.access(var, os.W_OK):
        yield Finding("permissions", ERROR, f"{var} is not writable for uid {os.getuid()}", "run as its owner")
        return
    open_files = [path for path in _secret_files(installation) if path.stat().st_mode & 0o077]
    for path in open_files:
        yield Finding("permissions", ERROR, f"others may read {path}", f"chmod 600 {path}, and change that secret")
    if not open_files:
        yield Finding("permissions", OK, f"{var} is writable, secrets are private")


def _secret_files(installation: Installation) -> list[Path]:
    folders = [installation.paths.root(group.project) / "secrets" for group in installation.groups]
    return [path for folder in folders if folder.is_dir() for path in folder.iterdir()]


def check_clock(_: Installation) -> Iterator[Finding]:
    if time.time() < EARLIEST_TIME:
        yield Finding("clock", ERROR, f"says {time.ctime()}", "set the machine's clock")
    else:
        yield Finding("clock", OK, f"{time.strftime('%Y-%m-%d %H:%M:%S %Z')}")


def check_supervisor(installation: Installation) -> Iterator[Finding]:
    pid = installation.runtime.supervisor.pid()
    left = leftovers.find(installation.paths, supervisor=pid)
    if left:
        listed = ", ".join(str(found) for found in sorted(left))
        yield Finding("supervisor", WARNING, f"left-over processes: {listed}", "manage.py up or down stops them")
    elif pid is None:
        yield Finding("supervisor", OK, "does not run; nothing is left over")
    else:
        yield Finding("supervisor", OK, f"runs as pid {pid}")


def check_services(installation: Installation) -> Iterator[Finding]:
    if installation.runtime.supervisor.pid() is None:
        return
    for group, statuses in installation.statuses().items():
        for status in statuses:
            if status.state in (State.UNHEALTHY, State.FAILED):
                remedy = f"read manage.py logs {group}/{status.service}; manage.py up starts it again"
                yield Finding("service", ERROR, f"{group}/{status.service} is {status.state}: {status.detail}", remedy)


def existing(path: Path) -> Path:
    """The path itself, or its nearest folder that exists."""
    return path if path.exists() else existing(path.parent)


CHECKS: tuple[Callable[[Installation], Iterator[Finding]], ...] = (
    check_python,
    check_tools,
    check_ports,
    check_disk,
    check_memory,
    check_permissions,
    check_clock,
    check_supervisor,
    check_services,
)
