"""The one module that starts processes.

Everything outside the interpreter (restic, pg_dump, nginx, supervisord, the agent) is started here, so that
three promises hold everywhere: no shell, no secret on a command line or in an exception, and no child that
outlives its parent unnoticed.

Standard library only: the bootstrap imports it before the environment exists.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO


class ProcessError(Exception):
    """A process could not be started, failed, or ran out of time.

    Attributes:
        program: file name of the program; arguments are left out because they may hold what nobody should read.
        returncode: exit status, negative for a signal, None when it never started or was timed out.
        stderr: the tail of what it wrote to standard error, at most 4,000 characters.
    """

    def __init__(self, program: str, returncode: int | None, stderr: str, reason: str) -> None:
        self.program = program
        self.returncode = returncode
        self.stderr = stderr[-4000:]
        self.reason = reason
        detail = f": {self.stderr.strip()}" if self.stderr.strip() else ""
        super().__init__(f"{program} {reason}{detail}")


@dataclass(frozen=True, slots=True)
class Completed:
    """What a finished process left behind; `stdout` and `stderr` are decoded as UTF-8, bad bytes replaced."""

    program: str
    returncode: int
    stdout: str
    stderr: str


def die_with_parent(argv: Sequence[str]) -> list[str]:
    """Prefix `argv` so that the kernel kills the process when the thread that started it ends.

    util-linux's `setpriv` sets PR_SET_PDEATHSIG between fork and exec, which a `preexec_fn` cannot do safely in a
    program with threads. Where setpriv is missing the prefix is left out: then only the pipes tell the child.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *argv] if setpriv else list(argv)


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
    check: bool = True,
) -> Completed:
    """Run a program to its end and return its output.

    Args:
        env: the whole environment of the child (not merged with ours); None inherits.
        stdin: text for its standard input; None gives it an empty one.
        timeout: seconds; afterwards the process is killed.
        check: raise when the exit status is not 0.

    Raises:
        ProcessError: it could not be started, timed out, or (with `check`) failed.
    """
    words = [os.fspath(a) for a in argv]
    program = Path(words[0]).name
    try:
        done = subprocess.run(
            words,
            env=None if env is None else dict(env),
            cwd=cwd,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise ProcessError(program, None, _text(late.stderr), f"did not finish within {timeout:g} s") from None
    except OSError as error:
        raise ProcessError(program, None, "", f"could not be started ({error.strerror})") from None
    if check and done.returncode != 0:
        raise ProcessError(program, done.returncode, done.stderr, f"exited with status {done.returncode}")
    return Completed(program, done.returncode, done.stdout, done.stderr)


class Running:
    """A started process whose standard output is read line by line.

    Standard error is collected by a thread of its own (a full pipe would block the child) and kept as a tail of
    `stderr_lines` lines. Use as a context manager: leaving it ends the process, politely first.
    """

    def __init__(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        bound_to_parent: bool = True,
        own_group: bool = False,
        stderr_lines: int = 200,
    ) -> None:
        words = [os.fspath(a) for a in argv]
        self.program = Path(words[0]).name
        self._keep = stderr_lines
        try:
            self._popen = subprocess.Popen(
                die_with_parent(words) if bound_to_parent else words,
                env=None if env is None else dict(env),
                cwd=cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=own_group,
            )
        except OSError as error:
            raise ProcessError(self.program, None, "", f"could not be started ({error.strerror})") from None
        self._stderr: list[str] = []
        self._drain = threading.Thread(target=self._collect, daemon=True)
        self._drain.start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def stdin(self) -> IO[str]:
        assert self._popen.stdin is not None
        return self._popen.stdin

    @property
    def stderr(self) -> str:
        """The last lines of standard error so far."""
        return "".join(self._stderr)

    def send(self, text: str) -> None:
        """Write `text` to the process; a process that is gone is not an error here, its exit status tells."""
        with contextlib.suppress(BrokenPipeError, ValueError):
            self.stdin.write(text)
            self.stdin.flush()

    def close_stdin(self) -> None:
        with contextlib.suppress(BrokenPipeError, ValueError):
            self.stdin.close()

    def lines(self) -> Iterator[str]:
        """Yield lines of standard output without their newline until the process closes it."""
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            yield line.rstrip("\n")

    def discard_output(self) -> None:
        """Read standard output and throw it away: a server that logs there would block on a full pipe."""
        assert self._popen.stdout is not None
        stream = self._popen.stdout

        def discard() -> None:
            with contextlib.suppress(ValueError):
                for _ in stream:
                    pass

        threading.Thread(target=discard, daemon=True).start()

    def poll(self) -> int | None:
        return self._popen.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status (negative: a signal).

        Raises:
            ProcessError: still running after `timeout` seconds; it goes on running.
        """
        try:
            code = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ProcessError(self.program, None, self.stderr, f"did not finish within {timeout:g} s") from None
        self._drain.join(timeout=5)
        return code

    def stop(self, grace: float = 10.0) -> int:
        """SIGTERM, then SIGKILL after `grace` seconds; returns the exit status."""
        if self.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
            try:
                self._popen.wait(grace)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        return self.wait()

    def kill(self) -> None:
        self._popen.kill()

    def kill_group(self) -> None:
        """Kill a process that was started with `own_group`, and everything it started that is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_stdin()
        self.stop()
        for stream in (self._popen.stdout, self._popen.stderr):
            if stream is not None:
                stream.close()

    def _collect(self) -> None:
        assert self._popen.stderr is not None
        with contextlib.suppress(ValueError):
            for line in self._popen.stderr:
                self._stderr.append(line)
                del self._stderr[: -self._keep]


class ByteStream:
    """A started process whose standard output is read as bytes; its standard error goes to a file without a name.

    It dies with us. Use as a context manager: leaving it ends the process.
    """

    def __init__(self, argv: Sequence[str | os.PathLike[str]], *, env: Mapping[str, str] | None = None) -> None:
        words = [os.fspath(a) for a in argv]
        self.program = Path(words[0]).name
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        try:
            self._popen = subprocess.Popen(
                die_with_parent(words),
                env=None if env is None else dict(env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
            )
        except OSError as error:
            self._stderr.close()
            raise ProcessError(self.program, None, "", f"could not be started ({error.strerror})") from None

    @property
    def stdout(self) -> IO[bytes]:
        assert self._popen.stdout is not None
        return self._popen.stdout

    @property
    def stderr(self) -> str:
        """The last 64 KiB of standard error so far."""
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - 65536))
        return self._stderr.read().decode("utf-8", "replace")

    def wait(self) -> int:
        """Return the exit status (negative: a signal); read standard output to its end before."""
        return self._popen.wait()

    def kill(self) -> None:
        """End it now; may be called from another thread than the one that reads."""
        self._popen.kill()

    def __enter__(self) -> ByteStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._popen.kill()
        self._popen.wait()
        self.stdout.close()
        self._stderr.close()


class Attached:
    """A process whose terminal is the inner end of a pty, in a session of its own, so that Ctrl-C reaches what runs in
    its foreground. It dies with the thread that started it.
    """

    def __init__(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        terminal: int,
        env: Mapping[str, str],
        cwd: str | os.PathLike[str] | None = None,
    ) -> None:
        words = [os.fspath(a) for a in argv]
        self.program = Path(words[0]).name
        try:
            # util-linux's setsid makes it the controlling terminal between fork and exec; see die_with_parent.
            self._popen = subprocess.Popen(
                die_with_parent(["setsid", "--ctty", *words]),
                env=dict(env),
                cwd=cwd,
                stdin=terminal,
                stdout=terminal,
                stderr=terminal,
            )
        except OSError as error:
            raise ProcessError(self.program, None, "", f"could not be started ({error.strerror})") from None

    def ended(self, *, seconds: float = 0) -> int | None:
        """Its exit status if it has one within so long."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill_group(self) -> int:
        """Kill it and everything in its group; returns its exit status."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.kill()
        return self._popen.wait()


def start_detached(
    argv: Sequence[str | os.PathLike[str]],
    *,
    log: str | os.PathLike[str],
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> int:
    """Start a program in a session of its own that outlives us; its output is appended to `log`. Returns its pid.

    Raises:
        ProcessError: it could not be started.
    """
    words = [os.fspath(a) for a in argv]
    try:
        with Path(log).open("ab") as sink:
            child = subprocess.Popen(
                words,
                env=None if env is None else dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
    except OSError as error:
        raise ProcessError(Path(words[0]).name, None, "", f"could not be started ({error.strerror})") from None
    return child.pid


def call(
    argv: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> int:
    """Run a program on our own terminal and return its exit status; for pytest, linters and shells."""
    words = [os.fspath(a) for a in argv]
    try:
        return subprocess.call(words, env=None if env is None else dict(env), cwd=cwd)
    except OSError as error:
        raise ProcessError(Path(words[0]).name, None, "", f"could not be started ({error.strerror})") from None


def _text(data: bytes | str | None) -> str:
    if data is None:
        return ""
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else data
