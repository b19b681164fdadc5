"""Becomes nginx with its template filled in: `python -m portal.runtime.launchers.nginx`.

Reads the variables of the official image's template step: NGINX_ENVSUBST_TEMPLATE_DIR, NGINX_ENVSUBST_OUTPUT_DIR, and
the RAGKEEP_* values that the template names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from portal.runtime.paths import RuntimePaths

TEMPLATE = "nginx.conf.template"
VARIABLE = re.compile(r"\$\{(RAGKEEP_[A-Z_]+)\}")


def render(template: str, values: Mapping[str, str]) -> str:
    """Replace `${RAGKEEP_...}`; nginx's own `$variables` stay.

    Raises:
        KeyError: the template names a value that is not given.
    """
    return VARIABLE.sub(lambda found: values[found[1]], template)


def write(folder: Path, output: Path, values: Mapping[str, str]) -> Path:
    """Render the template of `folder` into `output` with the temporary folders it needs; returns the file."""
    for name in ("body", "proxy"):
        (output / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    conf = output / TEMPLATE.removesuffix(".template")
    conf.write_text(render((folder / TEMPLATE).read_text(encoding="utf-8"), values), encoding="utf-8")
    return conf


def main() -> None:
    """Write the configuration and become nginx."""
    program = RuntimePaths.discover().tool("nginx")
    if program is None:
        raise SystemExit("nginx is missing: manage.py up fetches it into var/tools/bin")
    output = Path(os.environ["NGINX_ENVSUBST_OUTPUT_DIR"])
    conf = write(Path(os.environ["NGINX_ENVSUBST_TEMPLATE_DIR"]), output, os.environ)
    # -e: before it has read its configuration nginx would log to a folder that only root may write.
    os.execv(program, [str(program), "-c", str(conf), "-p", str(output), "-e", "stderr"])  # noqa: S606


if __name__ == "__main__":
    main()
