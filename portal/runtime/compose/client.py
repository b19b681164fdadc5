"""Runs Docker's command line, with nothing of our own environment in reach of the files it reads."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backups import process
from portal.runtime.compose import argv
from portal.runtime.compose.engine import Engine
from portal.runtime.errors import ComposeFailedError

VERSION_SECONDS = 30.0
SOCKET = "unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True)
class Docker:
    """The Docker of this host.

    Attributes:
        host: address of the engine, as DOCKER_HOST takes it.
        config: folder of the client's plugins and credentials, as DOCKER_CONFIG takes it.
    """

    host: str
    config: Path

    @classmethod
    def discover(cls, environ: Mapping[str, str] = os.environ) -> Docker:
        """What DOCKER_HOST and DOCKER_CONFIG name, else Docker's own defaults.

        In the portal's containers, whose home is empty at each start, credentials are kept in the folder of all state.
        """
        given, var = environ.get("DOCKER_CONFIG"), environ.get("RAGKEEP_VAR")
        if not given and var and environ.get("RAGKEEP_RUNTIME") == "compose":
            given = f"{var}/control/docker"
        return cls(environ.get("DOCKER_HOST") or SOCKET, Path(given) if given else Path.home() / ".docker")

    @property
    def engine(self) -> Engine:
        return Engine(self.host)

    @property
    def has_compose(self) -> bool:
        """Whether there is a docker command with a Compose of its own."""
        try:
            self.run(argv.version(), timeout=VERSION_SECONDS)
        except ComposeFailedError:
            return False
        return True

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """The environment of a command: a Compose file can name these variables, and no others of ours."""
        own = {"PATH": os.environ.get("PATH", os.defpath), "DOCKER_HOST": self.host, "DOCKER_CONFIG": str(self.config)}
        return {**variables, **own}

    def run(
        self,
        words: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> process.Completed:
        """Run a command to its end; `variables` are what a Compose file may name.

        Raises:
            ComposeFailedError: it could not be started, timed out, or (with `check`) failed.
        """
        env = self.environment(variables or {})
        try:
            # Whoever takes over from us must not find a command of ours still at work. Compose looks for files where it
            # is started when it is given none; there must not be any.
            return process.run(
                process.die_with_parent(words), env=env, cwd="/", stdin=stdin, timeout=timeout, check=check
            )
        except process.ProcessError as error:
            raise ComposeFailedError(_verb(words), error.reason, error.stderr) from None


def _verb(words: Sequence[str]) -> str:
    """`docker compose up`, `docker stop`: the command without its arguments."""
    verbs = {"version", "config", "up", "pull", "build", "down", "stop", "network", "rm", "rename", "exec"}
    named = next((word for word in words[1:] if word in verbs), "")
    return " ".join(word for word in ("docker", "compose" if "compose" in words[:2] else "", named) if word)
