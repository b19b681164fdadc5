"""The commands this runtime gives to Docker, as lists of words. Pure: nothing here runs anything.

Reading is the Engine API's part (portal.runtime.compose.engine); what changes something is a command from here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from portal.runtime.terminals import MARK

DOCKER = "docker"
STDIN = "-"
# A rendered file holds every value already; a `.env` beside it has no say in it.
NO_VARIABLES = "/dev/null"
END_MARKED = (
    'for one in /proc/[0-9]*; do tr "\\0" "\\n" <"$one/environ" 2>/dev/null | grep -qxF "$1"'
    ' && kill -KILL "${one##*/}"; done'
)


def compose(project: str, files: Sequence[Path | str], folder: Path | None = None) -> list[str]:
    """What every command on a project begins with; `folder` is what relative paths in the files start from."""
    words = [DOCKER, "compose", "--project-name", project, "--ansi", "never", "--progress", "plain"]
    words += ["--env-file", NO_VARIABLES] if files else []
    words += ["--project-directory", str(folder)] if folder else []
    for file in files:
        words += ["--file", str(file)]
    return words


def version() -> list[str]:
    """Succeeds when there is a Compose at all."""
    return [DOCKER, "compose", "version"]


def model(project: str, files: Sequence[Path], folder: Path) -> list[str]:
    """Print the files as one, with all variables, anchors, includes and defaults resolved."""
    return [*compose(project, files, folder), "config", "--format", "json"]


def hashes(project: str, folder: Path) -> list[str]:
    """Print `service hash` for each service of the file on standard input."""
    return [*compose(project, [STDIN], folder), "config", "--hash", "*"]


def up(
    project: str,
    file: Path,
    names: Collection[str],
    *,
    recreate: bool,
    counts: Mapping[str, int] = MappingProxyType({}),
) -> list[str]:
    """Create what is missing and start it, in one go and without what it depends on.

    Whether a container is replaced is this runtime's decision, so Compose is told either way.

    Args:
        counts: how many containers a service is to have, where that is not what the file says.
    """
    words = ["up", "--detach", "--no-deps", "--no-build", "--pull", "never"]
    words.append("--force-recreate" if recreate else "--no-recreate")
    for name, count in counts.items():
        words += ["--scale", f"{name}={count}"]
    return [*compose(project, [file]), *words, *names]


def pull(project: str, folder: Path, names: Collection[str]) -> list[str]:
    """Fetch the images of services of the file on standard input."""
    return [*compose(project, [STDIN], folder), "pull", "--quiet", *names]


def fetch(reference: str) -> list[str]:
    """Fetch one image by its name, or by its digest."""
    return [DOCKER, "pull", "--quiet", reference]


def build(project: str, folder: Path, names: Collection[str]) -> list[str]:
    """Build the images of services of the file on standard input."""
    return [*compose(project, [STDIN], folder), "build", *names]


def down(project: str, *, volumes: bool) -> list[str]:
    """Remove containers and networks, found by their labels, so that it works when the file is gone."""
    return [*compose(project, []), "down", "--remove-orphans", *(["--volumes"] if volumes else [])]


def stop(containers: Collection[str]) -> list[str]:
    """Stop containers at once, each with its own signal and patience."""
    return [DOCKER, "stop", *containers]


def remove(containers: Collection[str]) -> list[str]:
    return [DOCKER, "rm", "--force", *containers]


def remove_network(name: str) -> list[str]:
    return [DOCKER, "network", "rm", name]


def share(containers: Collection[str], shares: int) -> list[str]:
    """Give containers another weight when processors are short; Docker's own is 1024."""
    return [DOCKER, "update", "--cpu-shares", str(shares), *containers]


def rename(container: str, name: str) -> list[str]:
    return [DOCKER, "rename", container, name]


def execute(container: str, words: Sequence[str], *, mark: str = "") -> list[str]:
    """Run a command in a container, with the environment and user of its service; by `mark` it is found there."""
    return [DOCKER, "exec", *(["--env", f"{MARK}={mark}"] if mark else []), container, *words]


def attach(container: str, words: Sequence[str], *, mark: str, kind: str) -> list[str]:
    """The same on a terminal of that kind, which is our own."""
    given = ["--env", f"TERM={kind}", "--env", f"{MARK}={mark}"]
    return [DOCKER, "exec", "--interactive", "--tty", *given, container, *words]


def end_marked(container: str, mark: str) -> list[str]:
    """End what was run there with this mark; our own end is none of it."""
    return execute(container, ["sh", "-c", END_MARKED, "sh", f"{MARK}={mark}"])
