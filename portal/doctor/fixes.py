"""What can be put right at a click, safely: nothing here loses anything."""

from __future__ import annotations

from collections.abc import Callable

from portal.doctor.findings import Subject
from portal.doctor.installation import secret_files, too_open
from portal.runtime import leftovers
from portal.runtime.supervisor import Supervisor


def close_secrets(subject: Subject) -> list[str]:
    """Take the files of secrets away from others; returns which ones were open."""
    found = [path for path in secret_files(subject) if too_open(subject, path)]
    for path in found:
        path.chmod(0o640 if subject.in_containers else 0o600)
    return [str(path) for path in found]


def stop_leftovers(subject: Subject) -> list[str]:
    """Stop processes that a killed supervisor left behind; returns their numbers."""
    left = leftovers.find(subject.paths, supervisor=Supervisor(subject.paths).pid())
    leftovers.stop(left)
    return [str(one) for one in sorted(left)]


FIXES: dict[str, Callable[[Subject], list[str]]] = {"secrets": close_secrets, "leftovers": stop_leftovers}
TITLES = {"secrets": "Close secrets to others", "leftovers": "Stop left-over processes"}
