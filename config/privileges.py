"""Root starts the program, but nothing of it runs as root.

Everything below the command line (supervisor, servers, worker, agent, tests) runs as one ordinary account, so that no
other part has to know about root. Where that account cannot reach the checkout (a 0700 home, an interpreter under
/root), a user namespace drops the privileges instead; permissions outside the checkout are never touched.

Standard library only.
"""

from __future__ import annotations

import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from backups import process
from config.setup_errors import SetupError

# An account made for the purpose is preferred; `nobody` exists everywhere.
ACCOUNTS = ("ragkeep", "nobody")
NAMESPACE_ID = 65534
# Reads the checkout, its interpreter and the way to the state folder, and writes nothing: services may be running.
PROBE = "import os, sys, psycopg, django; os.stat(sys.argv[1])"


def make_private_folder(var: Path) -> None:
    """Create the state folder and what every account needs in it.

    Raises:
        SetupError: it cannot be created or belongs to somebody else.
    """
    try:
        for folder in (var, var / "run", var / "home"):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"The state folder {var} cannot be made: {error.strerror}.",
            "Clone the project into a folder you may write, or set RAGKEEP_VAR to one.",
        ) from None
    if os.geteuid() != 0 and not os.access(var, os.W_OK):
        owner = var.stat().st_uid
        raise SetupError(
            f"The state folder {var} belongs to uid {owner}, and you are uid {os.geteuid()}.",
            "Run this as the account that started Ragkeep here, or set RAGKEEP_VAR to a folder of your own.",
        )


def drop_prefix(root: Path, var: Path, python: Path) -> list[str]:
    """The words to put before a command so that it runs without root's privileges; empty for an ordinary user.

    The first choice that works is kept for good, and `var` handed over to it once: what runs must not lose its files
    because a later command chose otherwise.

    Raises:
        SetupError: neither an account nor a user namespace works on this machine.
    """
    if os.geteuid() != 0:
        return []
    for way in _ways(var):
        if _works(way.prefix, root, var, python):
            _hand_over(var, way)
            return way.prefix
    raise SetupError(
        "Ragkeep does not run its servers as root, and on this machine it can neither use an unprivileged account "
        f"(it cannot reach {root}) nor a user namespace.",
        "Run it as an ordinary user: adduser ragkeep, clone the project into its home, and start it there.",
    )


@dataclass(frozen=True, slots=True)
class Way:
    """A way to run without privileges: its name, the words before a command, and the uid that owns the files."""

    name: str
    prefix: list[str]
    owner: int


def _ways(var: Path) -> list[Way]:
    """Every way this machine offers, the one that was kept first."""
    try:
        kept = (var / "run" / "identity").read_text().strip()
    except OSError:
        kept = ""
    return sorted(_candidates(), key=lambda way: way.name != kept)


def _candidates() -> list[Way]:
    found: list[Way] = []
    for name in ACCOUNTS if shutil.which("setpriv") else ():
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        ids = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}"]
        found.append(Way(name, ["setpriv", *ids, "--clear-groups", "--no-new-privs", "--"], account.pw_uid))
    if shutil.which("unshare"):
        ids = [f"--map-user={NAMESPACE_ID}", f"--map-group={NAMESPACE_ID}"]
        found.append(Way("namespace", ["unshare", "--user", *ids, "--"], 0))
    return found


def _works(prefix: list[str], root: Path, var: Path, python: Path) -> bool:
    # setpriv still holds its capabilities while it looks the program up, its children do not: hence the shell between.
    through = ["sh", "-c", 'exec "$@"', "sh"]
    probe = [*prefix, *through, str(python), "-c", PROBE, str(var)]
    try:
        process.run(probe, cwd=root, env={"PYTHONPATH": str(root), "PATH": os.environ["PATH"]}, timeout=60)
    except process.ProcessError:
        return False
    return True


def _hand_over(var: Path, way: Way) -> None:
    identity = var / "run" / "identity"
    if identity.exists() and identity.read_text().strip() == way.name:
        return
    owner = way.owner
    for folder, _, files in os.walk(var):
        os.chown(folder, owner, -1)
        for name in files:
            os.chown(Path(folder) / name, owner, -1, follow_symlinks=False)
    identity.write_text(f"{way.name}\n")
