"""Progress over a known number of things: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from config.cli.output import Output

LINE_SECONDS = 5.0


class Meter:
    """Counts up to `total`; a context manager."""

    def __init__(self, output: Output, title: str, total: int) -> None:
        self._output, self._title, self._total, self._count = output, title, total, 0
        self._said = time.monotonic()
        self._progress: Progress | None = None
        if output.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._progress = Progress(*columns, console=output.console)
            self._task = self._progress.add_task(title, total=total)

    def __enter__(self) -> Meter:
        self._output.done()
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def advance(self, failed: int) -> None:
        """One more is done, `failed` of all so far did not succeed."""
        self.set(self._count + 1, failed)

    def set(self, count: int, failed: int) -> None:
        """`count` are done."""
        self._count = count
        title = f"{self._title} ({failed} failed)" if failed else self._title
        if self._progress is not None:
            self._progress.update(self._task, completed=count, description=title)
        elif count == self._total or time.monotonic() - self._said >= LINE_SECONDS:
            self._said = time.monotonic()
            self._output.line(f"{title}: {count} of {self._total}")
