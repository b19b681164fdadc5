"""Becomes nginx with its templates filled in: `python -m portal.runtime.launchers.nginx --inside-port N`.

Reads the variables of the official image's template step: NGINX_ENVSUBST_TEMPLATE_DIR, NGINX_ENVSUBST_OUTPUT_DIR, and
the RAGKEEP_* values that the templates name.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from portal.runtime.paths import RuntimePaths

MAIN = "nginx.conf"
SUFFIX = ".template"
VARIABLE = re.compile(r"\$\{(RAGKEEP_[A-Z_]+)\}")


def render(template: str, values: Mapping[str, str]) -> str:
    """Replace `${RAGKEEP_...}`; nginx's own `$variables` stay.

    Raises:
        KeyError: the template names a value that is not given.
    """
    return VARIABLE.sub(lambda found: values[found[1]], template)


def write(folder: Path, output: Path, values: Mapping[str, str]) -> Path:
    """Render the templates of `folder` into `output` with the temporary folders nginx needs; returns the main file."""
    for name in ("body", "proxy"):
        (output / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    for template in folder.rglob(f"*{SUFFIX}"):
        file = output / str(template.relative_to(folder)).removesuffix(SUFFIX)
        file.parent.mkdir(exist_ok=True, mode=0o700)
        file.write_text(render(template.read_text(encoding="utf-8"), values), encoding="utf-8")
    return output / MAIN


def main(words: Sequence[str]) -> None:
    """Write the configuration and become nginx."""
    parser = argparse.ArgumentParser(prog="python -m portal.runtime.launchers.nginx")
    parser.add_argument("--inside-port", type=int, required=True, help="of this host, where it listens for the chat")
    options = parser.parse_args(words)
    program = RuntimePaths.discover().tool("nginx")
    if program is None:
        raise SystemExit("nginx is missing: manage.py up fetches it into var/tools/bin")
    output = Path(os.environ["NGINX_ENVSUBST_OUTPUT_DIR"])
    # Whatever the stack listens on for others: this is for its own services.
    values = {**os.environ, "RAGKEEP_INSIDE_LISTEN": f"127.0.0.1:{options.inside_port}"}
    conf = write(Path(os.environ["NGINX_ENVSUBST_TEMPLATE_DIR"]), output, values)
    # -e: before it has read its configuration nginx would log to a folder that only root may write.
    os.execv(program, [str(program), "-c", str(conf), "-p", str(output), "-e", "stderr"])  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
