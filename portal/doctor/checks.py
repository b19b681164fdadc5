"""All checks, in the order in which an operator should read what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from portal.doctor import containers, installation, machine, services
from portal.doctor.findings import ERROR, Finding, Subject
from portal.runtime.errors import StackRuntimeError

Check = Callable[[Subject], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (
    installation.check_stacks,
    machine.check_python,
    machine.check_tools,
    containers.check_docker,
    installation.check_ports,
    machine.check_disk,
    machine.check_memory,
    machine.check_gpu,
    installation.check_permissions,
    installation.check_certificates,
    machine.check_clock,
    machine.check_names,
    machine.check_kernel,
    installation.check_supervisor,
    services.check_services,
)


def examine(subject: Subject) -> list[Finding]:
    """Everything that was looked at; a check that cannot be made is a finding of its own."""
    return [finding for check in CHECKS for finding in _made(check, subject)]


def _made(check: Check, subject: Subject) -> list[Finding]:
    name = check.__name__.removeprefix("check_")
    try:
        return list(check(subject))
    except StackRuntimeError as fault:
        return [Finding(name, ERROR, fault.message, fault.remedy or "run manage.py up")]
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return [Finding(name, ERROR, f"{where}{error.strerror or error}", "look at that file and its permissions")]


def is_well(findings: list[Finding]) -> bool:
    """True when nothing is an error; warnings do not count."""
    return all(finding.state != ERROR for finding in findings)
