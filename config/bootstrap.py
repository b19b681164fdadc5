"""From a bare machine to a working command line, with nothing but the standard library.

Order: environment (locked, hashed) -> tools (restic, nginx) -> an account without root's privileges -> the command
line in `config.cli.main`. Each stage is idempotent and survives being interrupted.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from config import chosen, environment, privileges, tools
from config.setup_errors import SetupError, say
from config.verbs import VERBS, Verb, overview

ROOT = Path(__file__).resolve().parent.parent
# A verb of Django's own (makemigrations, shell) needs no more than a product verb without tools.
DJANGO_VERB = Verb("django", "", development=True, tools=False)


def state_folder() -> Path:
    """Where all state lives: `RAGKEEP_VAR`, or `var` in the checkout."""
    return Path(os.environ.get("RAGKEEP_VAR") or ROOT / "var").absolute()


def main(argv: Sequence[str]) -> int:
    """Prepare what `argv` needs, then become the command line. Returns only when something is wrong or it is help."""
    if not argv or argv[0] in {"-h", "--help", "help"}:
        print(overview())
        return 0
    try:
        _become(argv, VERBS.get(argv[0], DJANGO_VERB))
    except SetupError as problem:
        say(f"error: {problem}")
        if "--json" in argv:
            error = {"code": "setup", "message": problem.problem, "remedy": problem.remedy}
            print(json.dumps({"error": error}))
        return 1
    except KeyboardInterrupt:
        say("interrupted; the same command goes on where it stopped")
        return 130


def _become(argv: Sequence[str], verb: Verb) -> NoReturn:
    _refuse_foreign_platforms()
    var = state_folder()
    privileges.make_private_folder(var)
    # The tools are in the image, and only the caller may be allowed to speak to the Docker Engine.
    containers = chosen.wants_containers(var, argv)
    python = environment.ensure(ROOT, var, development=verb.development)
    if verb.tools and not containers:
        tools.ensure(var)
    prefix = [] if verb.as_caller or containers else privileges.drop_prefix(ROOT, var, python)
    env = child_environment(var, dropped=bool(prefix))
    command = [*prefix, str(python), "-m", "config.cli.main", *argv]
    os.execvpe(command[0], command, env)  # noqa: S606 - the program is our own interpreter


def child_environment(var: Path, *, dropped: bool) -> dict[str, str]:
    """What the command line finds in its environment; `dropped`: root's rights were given up for it."""
    env = dict(os.environ)
    env["RAGKEEP_VAR"] = str(var)
    env["PYTHONPATH"] = str(ROOT)
    env["RAGKEEP_ROOT"] = str(ROOT)
    if dropped:
        home = var / "home"
        env["HOME"] = str(home)
        env.pop("XDG_RUNTIME_DIR", None)
    return env


def _refuse_foreign_platforms() -> None:
    if sys.platform != "linux" or platform.machine() not in {"x86_64", "aarch64"}:
        raise SetupError(
            f"Ragkeep runs on Linux on x86_64 and aarch64, this is {platform.system()} on {platform.machine()}.",
            "Use a Linux machine, a virtual machine or a container.",
        )
