"""Reads a Git repository with nothing of this account's configuration, and no protocol that runs programs."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, urlsplit

from backups import process
from portal.operations.errors import InputInvalid, OperationFailed

SECONDS = 300.0
PATH = "/usr/local/bin:/usr/bin:/bin"
# `file` is for folders of this host that the operator named.
PROTOCOLS = ("https", "http", "ssh", "git", "file")
SHORT = re.compile(r"[\w.-]+@[\w.-]+:[\w./~-]+")
BRANCH = re.compile(r"(?!-)[\w./+-]{1,200}")


def demand_address(address: str) -> None:
    """
    Raises:
        InputInvalid: it is no address of a repository, or holds a password.
    """
    parts = urlsplit(address)
    if SHORT.fullmatch(address):
        return
    if parts.scheme not in PROTOCOLS or not (parts.hostname or parts.scheme == "file"):
        raise InputInvalid({"git": f"Expected an address that begins with {', '.join(PROTOCOLS)}."})
    if parts.password or any(ord(letter) < 33 for letter in address):
        raise InputInvalid({"git": "Leave the password out of the address; give it apart, as a token."})


def demand_branch(branch: str) -> None:
    """
    Raises:
        InputInvalid: no branch can be called so.
    """
    if branch and (not BRANCH.fullmatch(branch) or ".." in branch):
        raise InputInvalid({"branch": "Expected the name of a branch or tag, like main."})


def clone_command(address: str, branch: str, target: Path, credentials: Path | None) -> list[str]:
    """Fetch the newest commit alone. Hooks and submodules stay where they are."""
    words = ["git", "-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never"]
    words += ["-c", f"credential.helper=store --file={credentials}"] if credentials else []
    words += ["clone", "--quiet", "--depth", "1", "--single-branch", "--no-tags"]
    words += ["--branch", branch] if branch else []
    return [*words, "--", address, str(target)]


def clone(address: str, branch: str, target: Path, credentials: Path | None = None) -> str:
    """Fetch a repository into a folder that is not there yet.

    Returns:
        The commit.

    Raises:
        OperationFailed: it cannot be fetched; with what git says.
    """
    env = {
        "PATH": PATH,
        "HOME": str(target.parent),
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": ":".join(PROTOCOLS),
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
    }
    try:
        command = clone_command(address, branch, target, credentials)
        process.run(process.die_with_parent(command), env=env, cwd="/", timeout=SECONDS)
        told = process.run(["git", "-C", str(target), "rev-parse", "HEAD"], env=env, timeout=SECONDS)
    except process.ProcessError as error:
        said = [line for line in error.stderr.splitlines() if line.strip()]
        why = said[-1].removeprefix("fatal: ") if said else error.reason
        raise OperationFailed(
            f"The repository could not be fetched: {why}.",
            code="git",
            remedy="Look whether address, branch and token are right, and whether this machine reaches the server.",
        ) from None
    return told.stdout.strip()


def credentials_line(address: str, token: str) -> str:
    """A line of git's own file of credentials. The name before the token means nothing to most servers."""
    parts = urlsplit(address)
    host = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    return f"{parts.scheme}://{parts.username or 'token'}:{quote(token, safe='')}@{host}\n"
