"""`manage.py doctor`: look for what is wrong, and say what to do about each finding."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from config.cli.installation import Installation, open_installation
from config.cli.operations import connect
from config.cli.output import UserError, json_option, speaking
from portal.doctor.checks import examine, is_well
from portal.doctor.findings import Finding, Subject
from portal.doctor.hosts import hosts_of
from portal.runtime.protocol import Happening


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Check this machine and this installation; exit status 0 only when no finding is an error."""
    with speaking(as_json=as_json) as output:
        findings = examine(_subject(open_installation()))
        well = is_well(findings)
        fields = {"ok": well, "findings": [asdict(finding) for finding in findings]}
        output.result(fields, "\n".join(map(_row, findings)))
    sys.exit(0 if well else 1)


def _subject(installation: Installation) -> Subject:
    settings = installation.stack.settings
    certificates = settings.get("RAGKEEP_CERTIFICATES")
    return Subject(
        paths=installation.paths,
        runtime=installation.runtime,
        groups=installation.groups,
        hosts=hosts_of(settings),
        base_port=installation.port,
        certificates=Path(certificates) if certificates else None,
        recorded=_recorded(installation),
    )


def _recorded(installation: Installation) -> Mapping[str, Sequence[Happening]]:
    """What the portal wrote down, when its database answers."""
    if not installation.exists:
        return {}
    try:
        connect()
    except UserError:
        return {}
    from portal.watch.selectors import happenings_lately

    return happenings_lately()


def _row(finding: Finding) -> str:
    remedy = f"\n{'':<22}what to do: {finding.remedy}" if finding.remedy else ""
    return f"{finding.state:<8} {finding.name:<12} {finding.message}{remedy}"
