"""The operation `stack.rotate`: a secret of the stack gets a new value, and whoever reads it is started anew.

The new value lies beside the old one until the database knows it; whoever takes over goes on with it. The database is
told by what it keeps of a password (a SCRAM verifier), never by the password itself.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from pathlib import Path

from backups.secret import Secret, write_secret
from portal.core import places
from portal.core.deployed import deployed_get
from portal.operations.context import Context
from portal.operations.errors import OperationFailed, OperationRefused
from portal.operations.faults import runtime_faults
from portal.operations.registry import Outcome, Params, alone, operation_kind
from portal.runtime.spec import StackSpec, layers
from portal.stacks.selectors import stack_of

DATABASE = "postgres_password"
# Only an account's first password; its owner changes it where they sign in.
FIRST_ONLY = frozenset({"admin_password"})
ITERATIONS = 4096
# The exit status of the RAG service when the database does not know the password in the file.
REFUSED_STATUS = 3
SECONDS = 60.0


def secret_names(spec: StackSpec) -> list[str]:
    """The secrets of a stack that can be rotated, in the order of its file."""
    return [name for name in spec.secrets if name not in FIRST_ONLY and readers(spec, name)]


def readers(spec: StackSpec, name: str) -> list[str]:
    """The services that read a secret, those first that others depend on."""
    return [service for layer in layers(spec.services) for service in layer if name in spec.services[service].secrets]


def verifier(password: str, *, salt: bytes | None = None) -> str:
    """What Postgres keeps of a password (RFC 5803): it proves who knows the password, and does not tell it."""
    salt = salt or secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    stored, server = hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256")
    told = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${ITERATIONS}:{told[0]}${told[1]}:{told[2]}"


def _joins(_target: str, params: Params) -> str:
    return str(params.get("secret") or "")


def _check(target: str, params: Params) -> None:
    name = stack_of(target).name
    if params.get("secret") not in secret_names(places.stack_spec(name)):
        raise OperationRefused(f"{name} has no such secret to rotate.", remedy="Choose one on the page Settings.")


@operation_kind("stack.rotate", title="Rotate a secret", claims=alone, joins=_joins, check=_check)
def stack_rotate(ctx: Context) -> Outcome:
    """Params `secret`: its name."""
    spec, name = places.stack_spec(ctx.operation.stack_name), str(ctx.params["secret"])
    fresh = places.location(spec).secret(f"{name}.next")
    if ctx.done("make") is None:
        with ctx.step("make", "Make a new value") as data:
            data["found"] = _make(fresh)
    # A worker that died after the exchange leaves none, and nothing to do here.
    if fresh.exists():
        _bring_in(ctx, spec, name, fresh)
    services = readers(spec, name)
    with ctx.step("renew", f"Start anew: {', '.join(services)}", undoing=True), runtime_faults():
        for service in services:
            places.runtime().recreate(spec, service, release=deployed_get(spec.project))
    return Outcome({"secret": name, "services": services})


def _make(fresh: Path) -> bool:
    """Whether an unfinished rotation left one: it is used, because the database may know it already."""
    if fresh.exists() and not fresh.read_text(encoding="utf-8").strip():
        fresh.unlink()
    if fresh.exists():
        return True
    write_secret(fresh, secrets.token_urlsafe(32))
    return False


def _bring_in(ctx: Context, spec: StackSpec, name: str, fresh: Path) -> None:
    if name == DATABASE:
        with ctx.step("database", "Tell the database", undoing=True), runtime_faults():
            _tell_database(
                spec, Secret.from_file(fresh), again=ctx.attempt > 1 or bool(ctx.recorded("make").get("found"))
            )
    with ctx.step("exchange", "Put it in the place of the old one", undoing=True):
        file = places.location(spec).secret(name)
        fresh.chmod(file.stat().st_mode & 0o777)
        fresh.replace(file)


def _tell_database(spec: StackSpec, password: Secret, *, again: bool) -> None:
    """
    Args:
        again: an earlier attempt may have done it, so that the old password is refused.
    """
    # There are the address of the database and the password that it knows.
    argv = ["python", "-m", "rag_api", "set-password", verifier(password.reveal())]
    done = places.runtime().exec(spec, "api", argv, timeout=SECONDS)
    if done.returncode != 0 and not (again and done.returncode == REFUSED_STATUS):
        said = done.stderr.strip().splitlines()[-1:] or ["it gave no reason"]
        raise OperationFailed(
            f"The database did not take the new password: {said[0][:200]}",
            code="rotation",
            remedy="Start the stack; nothing was changed yet.",
        )
