"""`manage.py restore`: bring a set back, or a part of it, undo that, or confirm it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from config.cli.confirming import demand_typed
from config.cli.operations import choose_set, connect, run_started, user_error
from config.cli.output import Output, UserError, json_option, megabytes, speaking

if TYPE_CHECKING:
    from portal.operations.models import Operation
    from portal.vaults.models import BackupSet


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for. `keep_deleted` None leaves it to the mode."""

    set: str | None
    sources: tuple[str, ...]
    documents: tuple[str, ...]
    lost: bool
    folder: Path | None
    stack: str | None
    merge: bool
    keep_deleted: bool | None
    preview: bool
    undo: bool
    confirm: bool
    yes: bool
    safety: bool

    @property
    def chosen(self) -> dict[str, bool]:
        """Which options say what to restore, where to, or how."""
        return {
            "--sources": bool(self.sources),
            "--document": bool(self.documents),
            "--lost": self.lost,
            "--to-folder": self.folder is not None,
            "--to-stack": self.stack is not None,
            "--merge": self.merge,
            "--keep-deleted": self.keep_deleted is True,
            "--bring-back-deleted": self.keep_deleted is False,
            "--preview": self.preview,
            "--no-safety": not self.safety,
        }


# What an option cannot be combined with, and why.
_APART = {
    "--document": (
        ("--sources", "--merge", "--keep-deleted", "--bring-back-deleted", "--preview", "--no-safety", "--lost"),
        "single documents are handed to the running stack, or copied to a folder, and nothing is exchanged",
    ),
    "--lost": (
        ("--sources", "--to-folder", "--merge", "--keep-deleted", "--bring-back-deleted", "--preview", "--no-safety"),
        "lost files are put back into the running stack, and nothing is exchanged",
    ),
    "--to-folder": (
        ("--to-stack", "--merge", "--keep-deleted", "--bring-back-deleted", "--preview", "--no-safety"),
        "a folder gets what the set holds, and no stack changes",
    ),
}


def require_sense(wanted: Wanted) -> None:
    """Raises UserError when the options do not fit together, with a sentence that says why."""
    if sum([wanted.set is not None, wanted.undo, wanted.confirm]) != 1:
        raise UserError(
            "say exactly one of --set, --undo, --confirm", "python3 manage.py restore --set latest", "usage"
        )
    given = [name for name, is_given in wanted.chosen.items() if is_given]
    if wanted.set is None and given:
        raise UserError(f"{given[0]} goes with --set only", "leave it out", "usage")
    for one, (others, why) in _APART.items():
        clash = [other for other in others if other in given]
        if one in given and clash:
            raise UserError(f"{one} and {clash[0]} do not go together: {why}", f"leave {clash[0]} out", "usage")


@click.command("restore")
@click.option("--set", "wanted", metavar="latest|ID", help="Which set to restore.")
@click.option("--sources", default="", metavar="A,B", help="Only these sources of it, such as models.")
@click.option("--document", "documents", multiple=True, metavar="NAME", help="Only this document; may be repeated.")
@click.option("--lost", is_flag=True, help="Only files that the stack's database lists and its folder lacks.")
@click.option("--to-folder", type=click.Path(path_type=Path), metavar="DIR", help="To a new folder; nothing stops.")
@click.option("--to-stack", metavar="NAME", help="Into another stack of this installation.")
@click.option("--merge", is_flag=True, help="Keep documents, accounts and bases that were added since the set.")
@click.option(
    "--keep-deleted/--bring-back-deleted",
    default=None,
    help="Whether documents deleted since the set stay deleted (default: only with --merge).",
)
@click.option("--preview", is_flag=True, help="Say what would change, and change nothing.")
@click.option("--undo", is_flag=True, help="Put the data from before the last restore back.")
@click.option("--confirm", is_flag=True, help="Keep the last restore and remove the data from before it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--no-safety", is_flag=True, help="Take no backup of the present state first.")
@json_option
def command(
    wanted: str | None,
    sources: str,
    to_folder: Path | None,
    to_stack: str | None,
    no_safety: bool,
    as_json: bool,
    **rest: Any,  # noqa: ANN401 - the other options, as their declarations above type them
) -> None:
    """Restore a backup set over the running stack, or a part of it, or to a folder.

    The data from before is kept for 72 hours: --undo brings it back, --confirm removes it.
    """
    names = tuple(name.strip() for name in sources.split(",") if name.strip())
    folder = to_folder.absolute() if to_folder else None
    asked = Wanted(set=wanted, sources=names, folder=folder, stack=to_stack, safety=not no_safety, **rest)
    with speaking(as_json=as_json) as output:
        require_sense(asked)
        connect()
        if asked.set is None:
            _close(output, "restore.undo" if asked.undo else "restore.confirm", yes=asked.yes)
            return
        found = choose_set(asked.set)
        if asked.folder:
            _to_folder(output, found, asked)
        elif asked.documents or asked.lost:
            _documents(output, found, asked)
        else:
            _restore(output, found, asked)


def _restore(output: Output, found: BackupSet, wanted: Wanted) -> None:
    stack = wanted.stack or found.stack
    params: dict[str, Any] = {"set": found.pk, "safety": wanted.safety, "mode": "merge" if wanted.merge else "exact"}
    if wanted.sources:
        params["sources"] = list(wanted.sources)
    if wanted.keep_deleted is not None:
        params["keep_deleted"] = wanted.keep_deleted
    if wanted.preview:
        report = _look(output, stack, params)
        output.result(report, f"set {found.pk}\n" + "\n".join(f"  {line}" for line in report["sentences"]))
        return
    if not wanted.yes:
        output.line(f"set {found.pk}, taken {found.taken_at:%Y-%m-%d %H:%M} UTC")
        for line in _look(output, stack, params)["sentences"]:
            output.line(f"  {line}")
        demand_typed(output, stack, f"Type the name of the stack ({stack}) to go on")
    operation = _run(output, "restore", stack, params)
    output.result({**operation.result, "operation": str(operation.pk)}, "\n".join(_told(operation.result)))


def _told(made: dict[str, Any]) -> list[str]:
    downtime = made["downtime_ms"]
    down = "" if downtime is None else f" What uses the data stood still for {downtime / 1000:.1f} s."
    lines = [f"set {made['set_id']} is back.{down}"]
    if made.get("merged"):
        added = ", ".join(f"{count} {name}" for name, count in made["merged"].items() if name != "lost" and count)
        lines.append(f"kept from before: {added or 'nothing was added since'}; new documents are taken in again now")
    if made.get("deletions"):
        lines.append(f"{made['deletions']} documents that were deleted since the set stay deleted")
    kept = megabytes(made.get("kept_bytes"))
    lines.append(f"The data from before ({kept}) is kept until {made['kept_until']}: restore --undo brings it back.")
    return lines


def _to_folder(output: Output, found: BackupSet, wanted: Wanted) -> None:
    params: dict[str, Any] = {"set": found.pk, "folder": str(wanted.folder)}
    if wanted.sources:
        params["sources"] = list(wanted.sources)
    if wanted.documents:
        params["documents"] = list(wanted.documents)
    operation = _run(output, "restore.folder", found.stack, params)
    made = operation.result
    files = made.get("documents") or [f"{name}: {count} files" for name, count in made.get("files", {}).items()]
    told = "\n".join([f"It lies in {made['target']}:", *(f"  {line}" for line in files)])
    output.result({**made, "operation": str(operation.pk)}, told)


def _documents(output: Output, found: BackupSet, wanted: Wanted) -> None:
    stack = wanted.stack or found.stack
    params: dict[str, Any] = {"set": found.pk, **({"lost": True} if wanted.lost else {})}
    if wanted.documents:
        params["documents"] = list(wanted.documents)
    operation = _run(output, "restore.documents", stack, params)
    made = operation.result
    counts = made.get("outcome") or {"files put back": made.get("files", 0)}
    told = ", ".join(f"{count} {_WORDS.get(name, name)}" for name, count in counts.items())
    output.result({**made, "operation": str(operation.pk)}, f"{told}; nothing was stopped")


_WORDS = {
    "added": "documents are back and are taken in now",
    "newer": "documents have the set's content again",
    "same": "documents were there already",
    "nowhere": "documents have no knowledge base any more that they could go to",
}


def _close(output: Output, kind: str, *, yes: bool) -> None:
    from portal.vaults.selectors import restore_kept

    kept = restore_kept()
    if kept is None:
        raise UserError("no restore can be undone or confirmed", "restore --set latest makes one", "nothing_kept")
    stack = kept.operation.stack_name
    if not yes:
        demand_typed(output, stack, f"Type the name of the stack ({stack}) to go on")
    operation = _run(output, kind, stack, {"restore": str(kept.operation_id)})
    done = "undone" if kind == "restore.undo" else "confirmed"
    made = operation.result
    if made.get("warning"):
        output.line(f"warning: {made['warning']}")
    output.result({**made, "operation": str(operation.pk)}, f"the restore of {kept.set_id} is {done}")


def _run(output: Output, kind: str, stack: str, params: dict[str, Any]) -> Operation:
    from portal.operations.services import operation_start

    return run_started(output, lambda: operation_start(kind=kind, target=f"stack:{stack}", params=params))


def _look(output: Output, stack: str, params: dict[str, Any]) -> dict[str, Any]:
    from portal.operations.errors import OperationError
    from portal.vaults.restore_look import restore_look

    output.step("looking at what the restore would change")
    try:
        return restore_look(f"stack:{stack}", params)
    except OperationError as refused:
        raise user_error(refused) from None
    finally:
        output.done()
