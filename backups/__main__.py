"""`python -m backups`: the agent, what services need, and the rescue commands that work without a portal."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from backups import agent, chroma, rescue
from backups.restore import replay


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    arguments = parser().parse_args(words)
    run: Callable[[argparse.Namespace], int] = arguments.run
    return run(arguments)


def parser() -> argparse.ArgumentParser:
    """All commands of the package."""
    root = argparse.ArgumentParser(
        prog="python -m backups", description="Back up and restore a Ragkeep stack, with or without its portal."
    )
    commands = root.add_subparsers(metavar="COMMAND", required=True)
    _add_internal(commands)
    rescue.add_commands(commands)
    replay.add_commands(commands)
    return root


def _add_internal(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    one = commands.add_parser("agent", help="carry out one JSON job from standard input (used by the portal)")
    one.set_defaults(run=lambda _: agent.main())
    other = commands.add_parser("prepare-vectors", help="make a stopped vector store ready for short freezes")
    other.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the vector store")
    other.set_defaults(run=_prepare_vectors)


def _prepare_vectors(arguments: argparse.Namespace) -> int:
    return rescue.reported(lambda: chroma.prepare(arguments.folder))


if __name__ == "__main__":
    raise SystemExit(main())
