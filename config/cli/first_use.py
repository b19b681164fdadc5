"""What makes an installation useful: accounts, models, a first document, a backup set, and the proof that it restores.

Each part looks at what there is and does what is missing, so that a run which was interrupted is completed by the next.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from config.cli.installation import ADMIN_EMAIL, Installation, admin_password
from config.cli.output import Output, UserError

if TYPE_CHECKING:
    from portal.operations.models import Operation

WELCOME = Path(__file__).with_name("welcome.md")
CHAT_MODEL, EMBED_MODEL = "smollm2:135m", "all-minilm"
DOCUMENT_SECONDS = 120.0
POLL_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Proof:
    """The last good set and how its drill ended; both None before the first backup."""

    set_id: str | None
    drill: str | None


def open_portal(installation: Installation) -> None:
    """Make the portal's code usable in this process, against its running database."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.run")
    os.environ["RAGKEEP_VAR"] = str(installation.paths.var)
    os.environ["RAGKEEP_PORTAL_URL"] = installation.portal_url
    os.environ.setdefault("LOG_LEVEL", "WARNING")
    import django

    django.setup()


def ensure_portal(installation: Installation) -> None:
    """Make the administrator, the stack's row, the default repository and the daily plan, unless they are there."""
    from portal.accounts.services import admin_ensure
    from portal.stacks.services import stack_ensure, stack_started
    from portal.vaults.services import setup_defaults

    admin_ensure(ADMIN_EMAIL, admin_password(installation).reveal())
    stack_ensure(name=installation.stack.project, runtime=installation.chosen.runtime)
    stack_started(installation.stack.project)
    setup_defaults(stack=installation.stack.project)


def ensure_models(installation: Installation, output: Output) -> list[str]:
    """Pull the models that the model server does not have yet.

    Returns:
        The names of those pulled now.

    Raises:
        UserError: the server cannot provide one.
    """
    location = installation.place
    settings = location.settings
    url = settings.get("OLLAMA_URL") or location.url("ollama")
    wanted = [settings.get("EMBED_MODEL") or EMBED_MODEL, settings.get("CHAT_MODEL") or CHAT_MODEL]
    try:
        with httpx.Client(base_url=url, timeout=600, trust_env=False) as client:
            known = {tag["name"] for tag in client.get("/api/tags").raise_for_status().json()["models"]}
            missing = [name for name in wanted if not known & {name, f"{name}:latest"}]
            for name in missing:
                output.step(f"fetching the model {name}")
                _pull(client, name)
    except httpx.HTTPError as error:
        raise UserError(f"the model server at {url} does not answer as it should: {error}", _OLLAMA) from None
    return missing


_OLLAMA = "read manage.py logs ollama, or correct OLLAMA_URL"


def _pull(client: httpx.Client, name: str) -> None:
    answer = client.post("/api/pull", json={"model": name, "stream": False})
    told = answer.json()
    if answer.status_code != 200 or told.get("error"):
        raise UserError(f"the model {name} cannot be fetched: {told.get('error', answer.status_code)}", _OLLAMA)


def ensure_welcome(installation: Installation, output: Output) -> None:
    """Upload a first document where there is none, so that the first backup has something to prove.

    Raises:
        UserError: it did not become ready.
    """
    with _client_of_api(installation) as client:
        password = admin_password(installation).reveal()
        session = client.post("/api/session", json={"email": ADMIN_EMAIL, "password": password})
        if session.status_code == 401:
            return  # The administrator has a password of their own by now, and with it documents of their own.
        client.headers["Authorization"] = f"Bearer {session.raise_for_status().json()['token']}"
        if client.get("/api/documents", params={"limit": 1}).raise_for_status().json()["documents"]:
            return
        output.step("uploading a first document")
        answer = client.post("/api/documents", files={"file": (WELCOME.name, WELCOME.read_bytes(), "text/markdown")})
        _await_ready(client, answer.raise_for_status().json()["id"])


@contextmanager
def _client_of_api(installation: Installation) -> Iterator[httpx.Client]:
    url = installation.place.url("api")
    try:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            yield client
    except httpx.HTTPError as error:
        raise UserError(
            f"the service at {url} does not answer as it should: {error}", "read manage.py logs api"
        ) from None


def _await_ready(client: httpx.Client, document: str) -> None:
    end = time.monotonic() + DOCUMENT_SECONDS
    while time.monotonic() < end:
        found = client.get(f"/api/documents/{document}").raise_for_status().json()
        if found["state"] == "ready":
            return
        if found["state"] == "failed":
            raise UserError(f"the first document was not taken in: {found['reason']}", "read manage.py logs ingest")
        time.sleep(POLL_SECONDS)
    raise UserError(f"the first document was not ready within {DOCUMENT_SECONDS:g} s", "read manage.py logs ingest")


def ensure_proof(installation: Installation, output: Output) -> Proof:
    """Take the first backup set and drill it; nothing happens when there is a proven one.

    Raises:
        UserError: the backup or the drill did not succeed.
    """
    from portal.vaults.selectors import set_last_good, set_last_proven

    stack = installation.stack.project
    if set_last_good(stack=stack) is None:
        ensure_welcome(installation, output)
        output.step("taking the first backup")
        run_operation("backup", f"stack:{stack}", {}, output)
    if set_last_proven(stack=stack) is None:
        good = set_last_good(stack=stack)
        if good is None:
            raise UserError("the first backup is not complete", "see the operation's page in the portal")
        output.step(f"restoring the set {good.pk} into a throw-away stack")
        run_operation("drill", f"stack:{stack}", {"set": good.pk}, output)
    return last_proof(stack)


def last_proof(stack: str) -> Proof:
    """The last good set and the last drill as they are recorded."""
    from portal.vaults.selectors import drill_last, set_last_good

    good, drill = set_last_good(stack=stack), drill_last(stack=stack)
    return Proof(set_id=good.pk if good else None, drill=str(drill.state) if drill else None)


def run_operation(kind: str, target: str, params: dict[str, Any], output: Output) -> Operation:
    """Start an operation and wait for its end, telling its progress.

    Raises:
        OperationRefused: it may not start now.
        UserError: it did not succeed.
    """
    from portal.operations.models import State
    from portal.operations.selectors import operation_get
    from portal.operations.services import operation_start

    operation = operation_start(kind=kind, target=target, params=params)
    stage = ""
    while not operation.is_finished:
        time.sleep(POLL_SECONDS)
        operation = operation_get(operation.pk)
        now = str(operation.progress.get("stage", ""))
        if now and now != stage:
            stage = now
            output.step(f"{kind}: {stage}")
    if operation.state != State.SUCCEEDED:
        told = operation.error
        raise UserError(
            f"the {kind} ended as {operation.state}: {told.get('message', 'see its log in the portal')}",
            str(told.get("remedy") or "manage.py up tries it again"),
            f"{kind}_{operation.state}",
        )
    return operation
