"""`manage.py stacks`: every stack, and Compose projects of one's own as stacks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backups.secret import Secret
from config.cli.confirming import confirm
from config.cli.confirming import typed as asked
from config.cli.given import file_option, text_of
from config.cli.listing import listing_group
from config.cli.operations import connect, run_started
from config.cli.output import Output, UserError, json_option, speaking
from config.cli.plan import plan_lines
from config.cli.rollout import agreed, tell

if TYPE_CHECKING:
    from portal.operations.models import Operation
    from portal.stacks.models import Project

name_argument = click.argument("name")


@listing_group(
    "stacks", "Add, adopt, update and remove Compose projects; alone, list all stacks and what else runs here."
)
def command(output: Output) -> None:
    """List all stacks, and Compose projects that run here and could be adopted."""
    connect()
    from portal.stacks.projects.selectors import running_rows, stack_rows

    rows, running = [row.as_dict() for row in stack_rows()], running_rows()
    lines = [f"{row['name']:<24} {row['condition']:<12} {row['from']}  {row['fault']}".rstrip() for row in rows]
    lines += [f"{one['name']:<24} not adopted  {one['folder']}  {one['obstacle']}".rstrip() for one in running]
    output.result({"stacks": rows, "running": running}, "\n".join(lines) or "no stack yet: python3 manage.py up")


@command.command("add")
@name_argument
@click.option("--folder", metavar="PATH", help="Folder of this host, below one that projects may come from.")
@click.option("--upload", type=file_option, metavar="FILE", help="Zip or tar archive, or Compose file; - reads it.")
@click.option("--git", metavar="URL", help="Git repository.")
@click.option("--branch", default="", help="Its branch or tag; its own default without it.")
@click.option("--inner", default="", metavar="PATH", help="Folder inside the repository.")
@click.option("--token-file", type=file_option, metavar="FILE", help="Token for the repository; - reads it.")
@click.option("--file", "files", multiple=True, metavar="PATH", help="A Compose file, below the folder; repeatable.")
@click.option("--profile", "profiles", multiple=True, help="A profile that is active; repeatable.")
@json_option
def add_command(name: str, as_json: bool, **given: Any) -> None:  # noqa: ANN401 - click's options
    """Add a Compose project as the stack NAME. Nothing is started; `stacks deploy NAME` does that."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.stacks.projects.services import Wanted, project_add

        kind = _kind(given)
        place = {"folder": given["folder"], "git": given["git"]}.get(kind) or ""
        wanted = Wanted(name, kind, place, given["branch"], given["inner"], given["files"], given["profiles"])
        token = text_of(given["token_file"])
        project = project_add(wanted, token=Secret(token) if token else None)
        if kind == "upload":
            _store(name, given["upload"])
        _tell_fetched(output, project, _run(output, "project.fetch", name))


@command.command("adopt")
@name_argument
@json_option
def adopt_command(name: str, as_json: bool) -> None:
    """Take over the Compose project NAME that runs here; its containers go on as they are."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.stacks.projects.services import Wanted, project_add

        project = project_add(Wanted(name, "adopted"))
        result = _run(output, "project.adopt", name).result
        lines = [f"{name} is adopted; nothing of it was touched"]
        lines += [f"  {service}: {why}" for service, why in result["differs"].items()]
        project.refresh_from_db()
        output.result({"stack": name, **result}, "\n".join([*lines, *_needs(project)]))


@command.command("update")
@name_argument
@click.option("--upload", type=file_option, metavar="FILE", help="What an uploaded project is now; - reads it.")
@click.option("--deploy", is_flag=True, help="Deploy it too.")
@json_option
def update_command(name: str, upload: Path | None, deploy: bool, as_json: bool) -> None:
    """Fetch the files of NAME anew from where they come from."""
    with speaking(as_json=as_json) as output:
        project = _project(name)
        if upload:
            _store(name, upload)
        kind = "project.adopt" if project.kind == "adopted" else "project.fetch"
        _tell_fetched(output, project, _run(output, kind, name, {"deploy": True} if deploy else {}))


@command.command("plan")
@name_argument
@json_option
def plan_command(name: str, as_json: bool) -> None:
    """Say what a deploy of NAME would do, and what of it takes an administrator. Changes nothing."""
    with speaking(as_json=as_json) as output:
        _project(name)
        report = _run(output, "stack.plan", name).result["plan"]
        needs = [f"takes an administrator: {one['what']}" for one in report["needs"]]
        output.result(report, "\n".join([*plan_lines(report), *needs]))


@command.command("deploy")
@name_argument
@click.option("--note", default="", metavar="TEXT", help="Why; kept with the release.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--pull", is_flag=True, help="Fetch anew what registries have under the names of the images.")
@json_option
def deploy_command(name: str, note: str, yes: bool, pull: bool, as_json: bool) -> None:
    """Deploy what the files of NAME say now. When it does not become healthy, the release before serves again."""
    with speaking(as_json=as_json) as output:
        _project(name)
        if yes or agreed(output, _run(output, "stack.plan", name).result["plan"], pull=pull):
            tell(output, _run(output, "stack.deploy", name, {"note": note, **({"pull": True} if pull else {})}))


@command.command("allow")
@name_argument
@click.option("--confirm", "typed", metavar="NAME", help="The name again, instead of being asked for it.")
@json_option
def allow_command(name: str, typed: str | None, as_json: bool) -> None:
    """Agree to all that NAME needs an administrator for, such as folders of this host."""
    with speaking(as_json=as_json) as output:
        project = _project(name)
        from portal.stacks.projects.services import project_allow

        for line in _needs(project):
            output.line(line)
        agreed = project_allow(project=project, confirm=_name_typed(output, name, typed)) if project.needs else []
        output.result({"stack": name, "agreed": agreed}, f"agreed to {len(agreed)} more" if agreed else "nothing new")


@command.command("start")
@name_argument
@json_option
def start_command(name: str, as_json: bool) -> None:
    """Start NAME as it was deployed last."""
    _simple(name, "stack.start", "started", as_json=as_json)


@command.command("stop")
@name_argument
@json_option
def stop_command(name: str, as_json: bool) -> None:
    """Stop the containers of NAME; its data stays."""
    _simple(name, "stack.stop", "stopped", as_json=as_json)


@command.command("hook")
@name_argument
@json_option
def hook_command(name: str, as_json: bool) -> None:
    """Make a new secret for redeploying NAME on push, and show it once."""
    with speaking(as_json=as_json) as output:
        project = _project(name)
        from portal.stacks.projects.hooks import hook_renew

        secret, path = hook_renew(project=project).reveal(), f"/hooks/{name}/"
        text = f"POST to {path} of the portal with the header Authorization: Bearer {secret}, or signed with it"
        output.result({"stack": name, "path": path, "secret": secret}, text)


@command.command("remove")
@name_argument
@click.option("--keep-running", is_flag=True, help="Forget it, and leave its containers as they are.")
@click.option("--data", is_flag=True, help="Its volumes and the portal's copy of its files too.")
@click.option("--confirm", "typed", metavar="NAME", help="The name again, instead of being asked for it.")
@click.option("--yes", is_flag=True, help="Do not ask, where no data goes.")
@json_option
def remove_command(name: str, keep_running: bool, data: bool, typed: str | None, yes: bool, as_json: bool) -> None:
    """Remove the stack NAME. The folder it came from is never touched, its volumes only with --data."""
    with speaking(as_json=as_json) as output:
        _project(name)
        from portal.stacks.projects.services import demand_confirmed

        if data:
            demand_confirmed(name, _name_typed(output, name, typed))
        elif not yes:
            confirm(output, f"Remove {name}? Its volumes stay.")
        params = {"stop": not keep_running, "data": data}
        kept = _run(output, "project.remove", name, params).result["kept"]
        text = f"{name} is removed" + (f"; what stays: {', '.join(kept)}" if kept else "")
        output.result({"stack": name, "removed": True, "kept": kept}, text)


def _kind(given: dict[str, Any]) -> str:
    kinds = [kind for kind in ("folder", "upload", "git") if given[kind]]
    if len(kinds) != 1:
        raise UserError("say where the project is", "give one of --folder PATH, --upload FILE, --git URL", "invalid")
    return kinds[0]


def _run(output: Output, kind: str, name: str, params: dict[str, Any] | None = None) -> Operation:
    from portal.operations.services import operation_start

    return run_started(output, lambda: operation_start(kind=kind, target=f"stack:{name}", params=params or {}))


def _simple(name: str, kind: str, done: str, *, as_json: bool) -> None:
    with speaking(as_json=as_json) as output:
        _project(name)
        operation = _run(output, kind, name)
        output.result({"stack": name, done: True, "operation": str(operation.pk)}, f"{name} is {done}")


def _project(name: str) -> Project:
    connect()
    from portal.stacks.projects.services import project_get

    return project_get(name)


def _store(name: str, file: Path) -> None:
    from portal.stacks.projects.sources import upload_file

    upload_file(name).write_bytes(sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes())


def _tell_fetched(output: Output, project: Project, operation: Operation) -> None:
    project.refresh_from_db()
    name = project.stack.name
    lines = [f"the files of {name} are here{f', at {project.revision[:12]}' if project.revision else ''}"]
    output.result({"stack": name, **operation.result}, "\n".join([*lines, *_needs(project)]))


def _needs(project: Project) -> list[str]:
    marks = {True: "agreed", False: "not agreed"}
    return [f"takes an administrator ({marks[need in project.granted]}): {need}" for need in project.needs]


def _name_typed(output: Output, name: str, given: str | None) -> str:
    if given is not None:
        return given
    return asked(output, f"Type the name of the stack ({name})", otherwise=f"add --confirm {name}")
