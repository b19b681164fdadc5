"""Reads from a Docker Engine over its HTTP API: lists, inspect, logs, stats. It only ever asks (GET).

The command line would do for most of it, but not for all (`docker stats` has neither bytes nor seconds of processor
time), and a start that asks ten times a second must not start a process each time.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from portal.runtime.errors import EngineGoneError, StackRuntimeError

TIMEOUT_SECONDS = 30.0


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Engine:
    """A Docker Engine at `host`: `unix:///path` or `tcp://name:port`, as in DOCKER_HOST."""

    def __init__(self, host: str) -> None:
        self.host = host

    def get(self, path: str, **query: object) -> Any:  # noqa: ANN401 - JSON of many shapes
        """The answer to a question, None when the thing asked for does not exist.

        Raises:
            EngineGoneError: nobody answers.
            StackRuntimeError: the engine refused.
        """
        body = self._ask(path, query)
        return None if body is None else json.loads(body)

    def log(self, container: str, *, tail: int, since: str = "") -> bytes:
        """What a container wrote, in frames and with moments: the last `tail` lines, those since a moment at most.

        Args:
            since: seconds since 1970, with a fraction.
        """
        asked = {"stdout": 1, "stderr": 1, "timestamps": 1, "tail": tail, **({"since": since} if since else {})}
        return self._ask(f"/containers/{container}/logs", asked) or b""

    def _ask(
        self, path: str, query: Mapping[str, object], headers: Mapping[str, str] = MappingProxyType({})
    ) -> bytes | None:
        connection = self._connection()
        try:
            connection.request("GET", f"{path}?{urlencode(query)}" if query else path, headers=dict(headers))
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise EngineGoneError(self.host, why) from None
        finally:
            connection.close()
        if answer.status == http.HTTPStatus.NOT_FOUND:
            return None
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise StackRuntimeError(f"the Docker Engine answered {answer.status}: {_message(body)}")
        return body

    def containers(self, *labels: str, running: bool = False) -> list[dict[str, Any]]:
        """A short description of each container with all of these labels (`name` or `name=value`).

        Args:
            running: leave out those that do not run.
        """
        wanted = json.dumps({"label": list(labels)})
        found: list[dict[str, Any]] = self.get("/containers/json", all=int(not running), filters=wanted)
        return found

    def inspect(self, container: str) -> dict[str, Any] | None:
        """Everything about a container; None when it is gone."""
        found: dict[str, Any] | None = self.get(f"/containers/{container}/json")
        return found

    def image_id(self, reference: str) -> str:
        """The id of an image on this host; empty when there is none of that name."""
        found = self.get(f"/images/{quote(reference, safe='/:@')}/json")
        return str(found["Id"]) if found else ""

    def pinned(self, reference: str) -> str:
        """What names an image for good: `name@sha256:...` where a registry has it, else its id; empty when not here."""
        found = self.get(f"/images/{quote(reference, safe='/:@')}/json")
        if not found:
            return ""
        name = reference.partition("@")[0].rpartition("/")
        repository = f"{name[0]}{name[1]}{name[2].partition(':')[0]}@"
        known = (digest for digest in found.get("RepoDigests") or [] if digest.startswith(repository))
        return str(next(known, found["Id"]))

    def digest(self, reference: str, headers: Mapping[str, str]) -> str:
        """The digest that a registry has under this name now; empty when it has none. `headers` say who asks."""
        body = self._ask(f"/distribution/{quote(reference, safe='/:@')}/json", {}, headers)
        return str(json.loads(body)["Descriptor"]["digest"]) if body else ""

    def stats(self, container: str) -> dict[str, Any]:
        """What a container uses now; empty when it does not run."""
        found: dict[str, Any] | None = self.get(f"/containers/{container}/stats", **{"stream": 0, "one-shot": 1})
        return found or {}

    def processes(self, container: str) -> list[tuple[int, int]]:
        """(pid, parent's pid) of every process in a running container, as this host counts them."""
        found = self.get(f"/containers/{container}/top", ps_args="-eo pid,ppid")
        return [(int(row[0]), int(row[1])) for row in found["Processes"]] if found else []

    def commands(self, container: str) -> dict[int, str]:
        """The command line of every process in a running container, by its pid on this host."""
        found = self.get(f"/containers/{container}/top", ps_args="-eo pid,args")
        return {int(row[0]): row[1] for row in found["Processes"]} if found else {}

    def events(self, label: str, *kinds: str, since: float, until: float) -> list[dict[str, Any]]:
        """What happened to containers with this label between two moments (Unix times), as far back as the engine
        remembers, in that order."""
        wanted = {"type": ["container"], "label": [label], "event": list(kinds)}
        asked = {"since": f"{since:.9f}", "until": f"{until:.9f}", "filters": json.dumps(wanted)}
        body = self._ask("/events", asked) or b""
        return [json.loads(line) for line in body.splitlines() if line]

    def _connection(self) -> http.client.HTTPConnection:
        place = urlsplit(self.host)
        if place.scheme == "unix":
            return _UnixConnection(place.path, TIMEOUT_SECONDS)
        if place.scheme == "tcp" and place.hostname:
            return http.client.HTTPConnection(place.hostname, place.port or 2375, timeout=TIMEOUT_SECONDS)
        raise EngineGoneError(self.host, "expected an address such as unix:///var/run/docker.sock")


def _message(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()
