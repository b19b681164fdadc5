"""`manage.py up`: start everything; on first use also set it up, back it up and prove the backup."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import click

from config.chosen import COMPOSE, EMBEDDED, Chosen, read_chosen
from config.cli import first_use, recovery_notes
from config.cli.containers import hand_over
from config.cli.containers_up import Wanted, bring_up, installation_for
from config.cli.first_use import Proof
from config.cli.installation import (
    ADMIN_EMAIL,
    Installation,
    ensure_secrets,
    open_installation,
    password_shown,
    unshown_password,
)
from config.cli.output import Output, UserError, json_option, speaking
from config.cli.uplock import only_one
from portal.runtime import leftovers
from portal.runtime.embedded import EmbeddedRuntime
from portal.runtime.errors import PortTakenError
from portal.runtime.paths import RuntimePaths
from portal.runtime.protocol import Action, ServiceStatus, State
from portal.runtime.spec import StackSpec


@dataclass(frozen=True, slots=True)
class Started:
    """What `up` found and did."""

    installation: Installation
    new_password: str | None
    proof: Proof
    actions: dict[str, str]
    seconds: float


@click.command("up")
@click.option("--port", type=int, help="Base port; the portal is on the next one. [8080]")
@click.option("--listen", metavar="ADDRESS", help="Address of the chat and the portal. [127.0.0.1]")
@click.option(
    "--runtime", type=click.Choice([EMBEDDED, COMPOSE]), help="Processes, or containers of Docker Compose. [embedded]"
)
@click.option("--name", help="Containers: name of the stack, when another installation has it. [rag]")
@click.option("--offline", is_flag=True, help="Containers: build every image, ask no container registry.")
@click.option("--build", is_flag=True, help="Containers: build our images anew, after an update of the program.")
@json_option
def command(runtime: str | None, as_json: bool, **wanted: Any) -> None:  # noqa: ANN401 - the options, as typed above
    """Start the portal and the stack, and wait until every service is healthy.

    The first time it also creates the administrator, fetches the models, takes a backup and proves it by a drill. What
    runs already stays as it is. How it was started is remembered.
    """
    known = read_chosen(RuntimePaths.discover().var)
    with speaking(as_json=as_json) as output:
        if (runtime or (known.runtime if known else EMBEDDED)) == COMPOSE:
            up_in_containers(output, Wanted(**wanted))
        else:
            _demand_embedded(known, wanted)
            _up_embedded(output, port=wanted["port"], listen=wanted["listen"])


def _demand_embedded(known: Chosen | None, wanted: Mapping[str, Any]) -> None:
    if known is not None and known.in_containers:
        remedy = "set RAGKEEP_VAR to another folder; its sets can be adopted there"
        raise UserError("this installation runs in containers", remedy, "other_runtime")
    for option in ("name", "offline", "build"):
        if wanted[option]:
            raise UserError(f"--{option} is about containers", "add --runtime compose", "usage")


def _up_embedded(output: Output, *, port: int | None, listen: str | None) -> None:
    began = time.monotonic()
    installation = open_installation(port=port, listen=listen)
    with only_one(installation.paths.run, "up"):
        _tell_started(output, _up(installation, output, began))


def up_in_containers(output: Output, wanted: Wanted) -> None:
    """`up`, `dev` and `prod` with containers, to their answer.

    Raises:
        UserError: something of it failed.
    """
    began = time.monotonic()
    installation = installation_for(wanted)
    with only_one(installation.paths.run, "up"):
        done = bring_up(installation, wanted, output)
        _tell_started(output, _started(installation, Proof(done.set_id, done.drill), done.actions, began))
    hand_over(installation.paths.var)


def _tell_started(output: Output, started: Started) -> None:
    output.result(_fields(started), _text(started))
    if started.new_password:
        password_shown(started.installation)


def _up(installation: Installation, output: Output, began: float) -> Started:
    recovery_notes.demand_finished(installation.paths)
    check_ports(installation)
    ensure_secrets(installation)
    with ThreadPoolExecutor(max_workers=1) as beside:
        control = beside.submit(start, installation, installation.control, output)
        actions = start_stack(installation, output)
        actions |= control.result()
    return _started(installation, settle_in(installation, output), actions, began)


def settle_in(installation: Installation, output: Output) -> Proof:
    """Set the portal up where that was not done yet, have a backup proven, and look whether everything is well.

    Raises:
        UserError: a service is not, or the proof failed.
    """
    output.step("setting up the portal")
    first_use.open_portal(installation)
    first_use.ensure_portal(installation)
    proof = first_use.ensure_proof(installation, output)
    output.step("looking at every service")
    demand_health(installation)
    return proof


def _started(installation: Installation, proof: Proof, actions: dict[str, str], began: float) -> Started:
    password = unshown_password(installation)
    return Started(
        installation=installation,
        new_password=password.reveal() if password else None,
        proof=proof,
        actions=actions,
        seconds=round(time.monotonic() - began, 1),
    )


def demand_health(installation: Installation) -> None:
    ill = [
        f"{name}/{status.service} is {status.state}"
        for name, group in installation.statuses().items()
        for status in group
        if status.state is not State.HEALTHY
    ]
    if ill:
        raise UserError(
            f"not every service is healthy: {', '.join(ill)}",
            "read manage.py logs of that service, then run manage.py up again",
            "unhealthy",
        )


def start_stack(installation: Installation, output: Output) -> dict[str, str]:
    # The service is not ready before its models are there.
    first = start(installation, installation.stack, output, only=["ollama"])
    first_use.ensure_models(installation, output)
    return first | start(installation, installation.stack, output)


def start(
    installation: Installation, group: StackSpec, output: Output, *, only: list[str] | None = None
) -> dict[str, str]:
    output.step(f"starting {group.project}")
    plan = installation.runtime.apply(group, services=only, report=lambda status: _tell(output, status))
    return {
        f"{group.project}/{change.service}": str(change.action)
        for change in plan.changes
        if change.action is not Action.KEEP and (only is None or change.service in only)
    }


def check_ports(installation: Installation) -> None:
    runtime = installation.runtime
    assert isinstance(runtime, EmbeddedRuntime)
    if runtime.supervisor.pid() is None:
        # Processes of a supervisor that was killed are ours to stop, not a stranger's to complain about.
        leftovers.stop(leftovers.find(installation.paths, supervisor=None))
    taken = {port: holder for group in installation.groups for port, holder in runtime.taken_ports(group).items()}
    if taken:
        raise PortTakenError(taken)


def _tell(output: Output, status: ServiceStatus) -> None:
    if status.state is not State.STARTING or status.detail:
        output.step(f"{status.service}: {status.state}")


def _fields(started: Started) -> dict[str, Any]:
    admin: dict[str, Any] = {"email": ADMIN_EMAIL}
    if started.new_password:
        admin["password"] = started.new_password
    return {
        "portal_url": started.installation.portal_url,
        "chat_url": started.installation.chat_url,
        "api_url": started.installation.api_url,
        "admin": admin,
        # Anything else ended as an error.
        "healthy": True,
        "set_id": started.proof.set_id,
        "drill": started.proof.drill,
        "changed": started.actions,
        "seconds": started.seconds,
    }


def _text(started: Started) -> str:
    where = started.installation
    lines = [
        f"Everything runs, {started.seconds:g} s.",
        f"  Portal    {where.portal_url}   stack, backups, restores",
        f"  Chat      {where.chat_url}   upload documents and ask about them",
        f"  Sign in   {ADMIN_EMAIL}, the same account on both",
    ]
    if started.new_password:
        lines.append(f"  Password  {started.new_password}   shown this once: keep it")
    lines += [
        f"  Data      {where.paths.var}",
        f"  Backup    set {started.proof.set_id}, its drill: {started.proof.drill}",
        "",
        "Next: open the portal or the chat and sign in, or put a folder of documents in from here:",
        "  python3 manage.py ingest FOLDER",
        '  python3 manage.py ask "What do you want to know?"',
        "Stop with python3 manage.py down; all data stays.",
    ]
    return "\n".join(lines)
