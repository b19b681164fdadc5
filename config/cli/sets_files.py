"""`manage.py sets browse` and `sets fetch`: what is in a set, and bringing files out of it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backups import fetch
from backups.errors import BackupError
from backups.trees import Node, Tree
from config.cli.operations import choose_set, connect, run_started
from config.cli.output import Output, UserError, json_option, speaking

if TYPE_CHECKING:
    from portal.vaults.models import BackupSet

SHOWN = 1000


@contextmanager
def opened(wanted: str, path: str, *, as_json: bool) -> Iterator[tuple[Output, BackupSet, Tree, Node]]:
    """A set with its tree, read first where that was not done yet, and the node at PATH.

    Raises:
        UserError: there is no such set or path.
    """
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.trees import tree_index, tree_open

        found = choose_set(wanted)
        tree = tree_open(found)
        if tree is None:
            run_started(output, lambda: tree_index(found=found))
            tree = tree_open(found)
        if tree is None:
            raise UserError(f"what is in set {found.pk} could not be read", "give the command again", "no_tree")
        with tree:
            node = tree.node("/" + path.strip("/"))
            if node is None:
                remedy = f"python3 manage.py sets browse {found.pk} --search NAME finds it"
                raise UserError(f"there is no {path!r} in set {found.pk}", remedy, "no_path")
            yield output, found, tree, node


@click.command("browse")
@click.argument("wanted", metavar="ID")
@click.argument("path", default="/")
@click.option("--search", "text", metavar="TEXT", help="Show what lies anywhere below PATH and has TEXT in its name.")
@json_option
def browse(wanted: str, path: str, text: str | None, as_json: bool) -> None:
    """What lies in the folder PATH of a set."""
    with opened(wanted, path, as_json=as_json) as (output, found, tree, node):
        if text is None:
            rows = tree.children(node, limit=SHOWN) if node.is_folder else [node]
            total = tree.count(node) if node.is_folder else 1
        else:
            rows = tree.search(text, node, limit=SHOWN)
            total = len(rows)
        if total > len(rows):
            output.line(f"the first {len(rows):,} of {total:,}; --search finds the others")
        nodes = [_told(row) for row in rows]
        shown = {"set_id": found.pk, "path": node.path, "nodes": nodes, "count": total}
        output.result(shown, "\n".join(_row(row, text is not None) for row in rows) or "nothing")


def _told(node: Node) -> dict[str, Any]:
    kind = "folder" if node.is_folder else "file"
    return {"path": node.path, "kind": kind, "files": node.files, "bytes": node.bytes, "sha256": node.sha256 or None}


def _row(node: Node, whole: bool) -> str:
    name = (node.path if whole else node.name) + ("/" if node.is_folder else "")
    # A name may hold anything; a terminal obeys some of it.
    return f"{node.bytes:>14,}  {''.join(c if c.isprintable() else '?' for c in name)}"


@click.command("fetch")
@click.argument("wanted", metavar="ID")
@click.argument("path")
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
    help="The file to write, or the folder to fill; - writes a file, or a folder as zip, to standard output.",
)
@json_option
def fetch_command(wanted: str, path: str, target: Path, as_json: bool) -> None:
    """Bring the file or folder PATH of a set here. Overwrites nothing."""
    plain = str(target) == "-"
    if plain and as_json:
        raise click.UsageError("--to - and --json both want standard output")
    with opened(wanted, path, as_json=as_json) as (output, found, tree, node):
        count = f"{node.files:,} file{'' if node.files == 1 else 's'}"
        output.step(f"fetching {count}")
        try:
            if plain:
                return _out(output, found, tree, node)
            written = _folder(found, tree, node, target) if node.is_folder else _file(found, tree, node, target)
        except BackupError as failed:
            raise UserError(failed.message, failed.remedy, failed.code) from None
        told = {"set_id": found.pk, "path": node.path, "to": str(written), "files": node.files, "bytes": node.bytes}
        output.result(told, f"{count}, {node.bytes:,} bytes in {written}")


def _out(output: Output, found: BackupSet, tree: Tree, node: Node) -> None:
    from portal.vaults.trees import set_download

    output.done()
    for block in set_download(found=found, tree=tree, node=node).blocks:
        sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()


def _file(found: BackupSet, tree: Tree, node: Node, target: Path) -> Path:
    file = target / fetch.portable(node.name) if target.is_dir() else target
    if file.exists():
        raise UserError(f"{file} exists", "name another file, or remove that one", "exists")
    from portal.vaults.trees import set_download

    _write(file, set_download(found=found, tree=tree, node=node).blocks)
    return file


def _folder(found: BackupSet, tree: Tree, node: Node, target: Path) -> Path:
    """Fill the folder `target` with what is below the node; their names were made safe for every system."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} is not an empty folder", "name one that is empty or does not exist yet", "exists")
    from portal.vaults.trees import set_files

    top = fetch.portable(node.name) if node.name else ""
    for one, blocks in set_files(found=found, tree=tree, node=node):
        _write(target / one.name.removeprefix(f"{top}/" if top else ""), blocks)
    return target


def _write(file: Path, blocks: Iterator[bytes]) -> None:
    """Write a file whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".fetch-")
    try:
        with os.fdopen(descriptor, "wb") as fresh:
            for block in blocks:
                fresh.write(block)
        Path(name).rename(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
