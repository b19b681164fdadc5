"""The installation: its ports, files, secrets, volumes, certificates, and left-over processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from portal.doctor.certificates import NotACertificateError, valid_until
from portal.doctor.findings import ERROR, OK, WARNING, Finding, Subject
from portal.doctor.machine import existing
from portal.runtime import leftovers
from portal.runtime.supervisor import Supervisor

# Renewing takes its time, and most authorities remind nobody.
EXPIRING_DAYS = 21


def check_stacks(subject: Subject) -> Iterator[Finding]:
    """Those whose files cannot be read; nothing else can be said of them."""
    yield from subject.unread


def check_ports(subject: Subject) -> Iterator[Finding]:
    taken = {p: who for group in subject.groups for p, who in subject.runtime.taken_ports(group).items()}
    for port, holder in sorted(taken.items()):
        yield Finding(
            "port", ERROR, f"{port} is held by {holder}", "stop it, or choose others with manage.py up --port"
        )
    if not taken:
        which = "those it needs" if subject.base_port is None else f"{subject.base_port} and those above it"
        yield Finding("ports", OK, f"{which} are free or ours")


def check_permissions(subject: Subject) -> Iterator[Finding]:
    var = existing(subject.paths.var)
    if not os.access(var, os.R_OK | os.X_OK) or (not subject.in_containers and not os.access(var, os.W_OK)):
        yield Finding("permissions", ERROR, f"{var} is not writable for uid {os.getuid()}", "run as its owner")
        return
    wrong = [*_open_secrets(subject), *_closed_volumes(subject)]
    yield from wrong
    if not wrong:
        yield Finding("permissions", OK, f"{var} is writable, secrets are private")


def secret_files(subject: Subject) -> list[Path]:
    """The files of all secrets, as far as this account may list them."""
    found = list[Path]()
    for group in subject.groups:
        with suppress(OSError):
            found.extend(sorted((subject.paths.root(group.project) / "secrets").iterdir()))
    return found


def too_open(subject: Subject, path: Path) -> bool:
    """Whether others may read a secret; in containers the group of the secrets may."""
    with suppress(OSError):
        return bool(path.stat().st_mode & (0o007 if subject.in_containers else 0o077))
    return False


def _open_secrets(subject: Subject) -> Iterator[Finding]:
    mode = 640 if subject.in_containers else 600
    for path in secret_files(subject):
        if too_open(subject, path):
            remedy = f"chmod {mode} {path}, and change that secret"
            yield Finding("permissions", ERROR, f"others may read {path}", remedy, "secrets")


def _closed_volumes(subject: Subject) -> Iterator[Finding]:
    """Volumes that the services of this host cannot write to; those of containers belong to their engine."""
    for group in () if subject.in_containers else subject.groups:
        for name in group.volumes:
            live = subject.paths.volumes(group.project) / name / "live"
            if live.exists() and not os.access(live, os.R_OK | os.W_OK | os.X_OK):
                uid = live.stat().st_uid
                text = f"{live} belongs to uid {uid} and is closed to uid {os.getuid()}, which runs the services"
                yield Finding("permissions", ERROR, text, f"chown -R {os.getuid()} {live}")


def check_certificates(subject: Subject, *, now: datetime | None = None) -> Iterator[Finding]:
    """Those that nginx shows, where a folder of certificates was chosen."""
    if subject.certificates is None:
        return
    chain, key = subject.certificates / "fullchain.pem", subject.certificates / "privkey.pem"
    renew = f"put a new one into {subject.certificates} and restart nginx"
    try:
        until = valid_until(chain)
    except OSError as error:
        yield Finding("certificates", ERROR, f"{chain} cannot be read ({error.strerror})", "put the certificate there")
        return
    except NotACertificateError as error:
        yield Finding("certificates", ERROR, str(error), renew)
        return
    days = (until - (now or datetime.now(UTC))).days
    text = f"valid until {until:%Y-%m-%d}"
    if days < 0:
        yield Finding("certificates", ERROR, f"{chain} has expired: {text}", renew)
    elif days < EXPIRING_DAYS:
        yield Finding("certificates", WARNING, f"{chain} expires in {days} days: {text}", renew)
    else:
        yield Finding("certificates", OK, text)
    if key.exists() and key.stat().st_mode & 0o007:
        yield Finding("certificates", ERROR, f"others may read {key}", f"chmod 640 {key}")


def check_supervisor(subject: Subject) -> Iterator[Finding]:
    if subject.in_containers:
        return
    pid = Supervisor(subject.paths).pid()
    left = leftovers.find(subject.paths, supervisor=pid)
    if left:
        listed = ", ".join(str(found) for found in sorted(left))
        text = f"left-over processes: {listed}"
        yield Finding("supervisor", WARNING, text, "manage.py up or down stops them", "leftovers")
    elif pid is None:
        yield Finding("supervisor", OK, "does not run; nothing is left over")
    else:
        yield Finding("supervisor", OK, f"runs as pid {pid}")
