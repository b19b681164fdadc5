"""The doctor's look from within the portal: by the process that may look everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from portal.doctor.checks import examine
from portal.doctor.findings import Finding
from portal.doctor.subject import subject
from portal.operations.asking import by_worker

PATIENCE_SECONDS = 30.0


def doctor_look(stacks: Iterable[str], addresses: Iterable[str]) -> list[Finding]:
    """What is to be said of this machine and this installation now.

    Args:
        stacks: their names.
        addresses: of repositories.

    Raises:
        OperationFailed: nobody looked.
    """
    told = _looked(stacks=list(stacks), addresses=list(addresses))
    return [Finding(**finding) for finding in told]


@by_worker(patience=PATIENCE_SECONDS)
def _looked(*, stacks: list[str], addresses: list[str]) -> list[dict[str, str]]:
    return [asdict(finding) for finding in examine(subject(stacks, *addresses))]
