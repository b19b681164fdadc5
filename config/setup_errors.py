"""How the bootstrap speaks: everything on standard error, so that `--json` owns standard output."""

from __future__ import annotations

import sys


class SetupError(Exception):
    """The machine cannot be prepared; the text is a sentence with what, where and what to do."""

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem}\n       {remedy}")


def say(text: str) -> None:
    print(f"ragkeep: {text}", file=sys.stderr, flush=True)
