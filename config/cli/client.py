"""Speaking to the RAG service over HTTP, as anybody outside would: sign in, ask, and turn refusals into sentences."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx

from backups.secret import Secret
from config.cli.installation import ADMIN_EMAIL, WILDCARDS, admin_password, open_installation
from config.cli.output import UserError

# Uploading a large file over a slow line, and a first answer while the model is being loaded.
TIMEOUT = httpx.Timeout(300, connect=5)
BUSY = (429, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Access:
    """Whom to ask, and as whom; everything empty means this installation's own administrator."""

    url: str | None
    email: str | None
    password_file: Path | None
    key_file: Path | None


def access_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say where the service is and who asks; see `Access`."""
    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    for option in (
        click.option("--key-file", type=file, help="File with an API key, instead of signing in."),
        click.option("--password-file", type=file, help="File with the password of --email."),
        click.option("--email", help="Sign in as this account instead of the administrator."),
        click.option("--url", help="Address of another service, like https://rag.example.org."),
    ):
        verb = option(verb)
    return verb


@contextmanager
def signed_in(access: Access) -> Iterator[httpx.Client]:
    """A client with a session of its own, which ends with the block, or with the API key.

    Raises:
        UserError: nothing answers there, or the sign-in is refused.
    """
    with httpx.Client(base_url=access.url or _own_url(), timeout=TIMEOUT) as client:
        if access.key_file:
            client.headers["Authorization"] = f"Bearer {_secret(access.key_file).reveal()}"
            yield client
            return
        credentials = {"email": access.email or ADMIN_EMAIL, "password": _password(access).reveal()}
        token = call(client, "POST", "/api/session", json=credentials)["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        try:
            yield client
        finally:
            with _unless_down():
                client.delete("/api/session")


def call(client: httpx.Client, method: str, path: str, *, patience: float = 0, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - httpx's own arguments
    """The JSON of `send`'s answer; raises as it does."""
    answer = send(client, method, path, patience=patience, **options)
    body: dict[str, Any] = answer.json() if answer.content else {}
    return body


def send(client: httpx.Client, method: str, path: str, *, patience: float = 0, **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own arguments
    """One request and its good answer.

    Args:
        patience: seconds to go on trying while the service is down, restarting or busy.

    Raises:
        UserError: it is refused, or still down afterwards.
    """
    end, pause = time.monotonic() + patience, 0.2
    while True:
        late = time.monotonic() + pause > end
        try:
            answer = client.request(method, path, **options)
            if late or answer.status_code not in BUSY:
                return checked(answer)
        except httpx.TransportError as error:
            if late:
                raise unreachable(client, error) from error
        time.sleep(pause)
        pause = min(pause * 2, 5)


def checked(answer: httpx.Response) -> httpx.Response:
    """The answer, when it is a good one.

    Raises:
        UserError: with the service's own sentence and code.
    """
    if answer.is_success:
        return answer
    try:
        error = answer.json()["error"]
        raise UserError(error["message"], code=error["code"])
    except (ValueError, KeyError, TypeError):
        if answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            # Said by the entrance, before the service itself could name its limit.
            remedy = "split it, or raise MAX_UPLOAD_BYTES and run manage.py up"
            raise UserError(f"it is larger than the service takes; {remedy}", remedy, "too_large") from None
        raise UserError(
            f"the service answered {answer.status_code} to {answer.request.method} {answer.request.url}",
            "check the address, and see manage.py status",
            "unexpected",
        ) from None


def unreachable(client: httpx.Client, error: httpx.TransportError) -> UserError:
    """What to say when nobody answers."""
    why = "takes too long to answer" if isinstance(error, httpx.TimeoutException) else "does not answer"
    return UserError(f"the service at {client.base_url} {why}", "run manage.py up, or see manage.py status", "down")


def base_id(client: httpx.Client, base: str | None) -> str | None:
    """The id of the knowledge base with this id or name.

    Raises:
        UserError: there is none, or several of that name.
    """
    if base is None:
        return None
    bases = call(client, "GET", "/api/bases")["bases"]
    found = [item["id"] for item in bases if base in (item["id"], item["name"])]
    if len(found) == 1:
        return str(found[0])
    names = ", ".join(sorted({item["name"] for item in bases}))
    if found:
        raise UserError(f"there are {len(found)} knowledge bases called {base}", "give its id instead of its name")
    raise UserError(f"there is no knowledge base {base}", f"choose one of: {names}")


def _own_url() -> str:
    installation = open_installation()
    if not installation.exists:
        raise UserError("nothing is installed here yet", "run manage.py up, or give --url", "not_installed")
    host = "127.0.0.1" if installation.listen in WILDCARDS else installation.listen
    return f"http://{host}:{installation.port}"


def _password(access: Access) -> Secret:
    if access.password_file:
        return _secret(access.password_file)
    if access.email or access.url:
        raise UserError("there is no password for the sign-in", "give --email and --password-file, or --key-file")
    return admin_password(open_installation())


def _secret(path: Path) -> Secret:
    try:
        return Secret.from_file(path)
    except (OSError, ValueError) as error:
        raise UserError(str(error), "write the secret on the first line of that file") from None


@contextmanager
def _unless_down() -> Iterator[None]:
    try:
        yield
    except httpx.TransportError:
        return  # the session ends by itself
