"""How verbs speak: progress for people, one JSON object for programs, errors with a remedy.

Progress goes to standard error: a moving line on a terminal, plain lines elsewhere. Standard output holds the result
alone; with `--json` that is exactly one object, also when the verb fails.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.status import Status

from backups.process import ProcessError
from portal.operations.errors import OperationError
from portal.runtime.errors import StackRuntimeError
from portal.runtime.paths import RuntimePaths

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")


class UserError(Exception):
    """Something the caller can put right: `message` says what is wrong, `remedy` what to do about it."""

    def __init__(self, message: str, remedy: str = "", code: str = "error") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.code = code


class Output:
    """Where one verb writes."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._status: Status | None = None

    def step(self, text: str) -> None:
        """Say what is being done now; on a terminal it stays as a moving line until the next step."""
        if not self.console.is_terminal:
            self.line(text)
            return
        if self._status is None:
            self._status = self.console.status(text)
            self._status.start()
        self._status.update(text)

    def line(self, text: str) -> None:
        """A line about the progress that stays."""
        self.console.print(text, markup=False)

    def done(self) -> None:
        """End the moving line."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def result(self, fields: Mapping[str, Any], text: str) -> None:
        """The verb's answer: the fields with --json, else the text."""
        self.done()
        sys.stdout.write((json.dumps(fields, default=str) if self.as_json else text.rstrip("\n")) + "\n")
        sys.stdout.flush()

    def error(self, problem: UserError) -> None:
        """The verb's failure, on standard error, and with --json as an object too."""
        self.done()
        self.line(f"error: {problem.message}")
        if problem.remedy:
            self.line(f"what to do: {problem.remedy}")
        if self.as_json:
            found = {"code": problem.code, "message": problem.message, "remedy": problem.remedy}
            sys.stdout.write(json.dumps({"error": found}) + "\n")


@contextmanager
def speaking(*, as_json: bool = False) -> Iterator[Output]:
    """Give a verb its output, and turn what goes wrong into a sentence, a remedy and exit status 1."""
    output = Output(as_json=as_json)
    try:
        yield output
    except click.ClickException:
        raise
    except KeyboardInterrupt:
        output.error(UserError("interrupted", "the same command goes on where it stopped", "interrupted"))
        sys.exit(130)
    except Exception as error:
        output.error(explained(error))
        sys.exit(1)
    finally:
        output.done()


def explained(error: Exception) -> UserError:
    """Whatever went wrong as a sentence and a remedy; the traceback of what nobody foresaw goes into a file."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, StackRuntimeError | OperationError):
        return UserError(error.message, error.remedy, error.code)
    if isinstance(error, ProcessError):
        return UserError(str(error), "run manage.py doctor", "process")
    if isinstance(error, OSError) and error.filename:
        what = f"{error.filename}: {(error.strerror or 'cannot be used').lower()}"
        return UserError(what, "manage.py doctor looks for missing space and permissions", "files")
    said = str(error).strip().partition("\n")[0]
    return UserError(
        f"something unexpected went wrong: {type(error).__name__}{': ' if said else ''}{said}",
        f"run manage.py doctor; the details are in {_keep(error)}",
        "unexpected",
    )


def _keep(error: Exception) -> str:
    """Write the traceback beside the supervisor's own files; returns where."""
    path = RuntimePaths.discover().run / "unexpected.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return str(path)


def megabytes(amount: int | None) -> str:
    """Bytes as `12 MB`, `-` for an unknown number."""
    return "-" if amount is None else f"{amount / 2**20:.0f} MB"
