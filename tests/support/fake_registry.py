"""A registry, and a Docker Engine that only knows images, answered by one small server: for tests without Docker."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "the-token"
TAGS_PER_PAGE = 2


@dataclass
class FakeRegistry:
    """What it answers.

    Attributes:
        here: digests of images on the host, by what names them.
        there: digest in the registry by an image's name; None: the registry does not answer.
        tags: path of an image -> its tags; others are not known.
        login: `name:password` that the token is given for; empty: to everybody.
        asked: every path that was asked for, in order.
    """

    address: str = ""
    here: dict[str, list[str]] = field(default_factory=dict)
    there: dict[str, str | None] = field(default_factory=dict)
    tags: dict[str, list[str]] = field(default_factory=dict)
    login: str = ""
    asked: list[str] = field(default_factory=list)
    auth: list[str] = field(default_factory=list)

    def answer(self, path: str, query: dict[str, list[str]], headers: Any) -> tuple[int, Any, dict[str, str]]:  # noqa: ANN401
        """Status, what to say as JSON, further headers."""
        self.asked.append(path)
        if path == "/info":
            return 200, {"RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"], "IndexConfigs": {}}}, {}
        if path == "/containers/json":
            return 200, [], {}
        if path.startswith("/images/"):
            return self._image(path.removeprefix("/images/").removesuffix("/json"))
        if path.startswith("/distribution/"):
            self.auth.append(headers.get("X-Registry-Auth", ""))
            return self._distribution(path.removeprefix("/distribution/").removesuffix("/json"))
        return self._token(headers) if path == "/token" else self._tags(path, query, headers)

    def _image(self, name: str) -> tuple[int, Any, dict[str, str]]:
        if name not in self.here:
            return 404, {"message": "no such image"}, {}
        return 200, {"Id": "sha256:" + "0" * 64, "RepoDigests": [f"x@{one}" for one in self.here[name]]}, {}

    def _distribution(self, name: str) -> tuple[int, Any, dict[str, str]]:
        found = self.there.get(name)
        if found is None:
            return 500, {"message": "dial tcp: lookup registry: no such host"}, {}
        return 200, {"Descriptor": {"digest": found}}, {}

    def _token(self, headers: Any) -> tuple[int, Any, dict[str, str]]:  # noqa: ANN401
        given = base64.b64decode(headers.get("Authorization", "").removeprefix("Basic ")).decode()
        return (200, {"token": TOKEN}, {}) if given == self.login else (401, {}, {})

    def _tags(self, path: str, query: dict[str, list[str]], headers: Any) -> tuple[int, Any, dict[str, str]]:  # noqa: ANN401
        name = path.removeprefix("/v2/").removesuffix("/tags/list")
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            wanted = f'Bearer realm="http://{self.address}/token",service="fake",scope="repository:{name}:pull"'
            return 401, {}, {"WWW-Authenticate": wanted}
        if name not in self.tags:
            return 404, {}, {}
        known, last = self.tags[name], query.get("last", [""])[0]
        rest = known[known.index(last) + 1 :] if last else known
        page, more = rest[:TAGS_PER_PAGE], rest[TAGS_PER_PAGE:]
        return 200, {"tags": page}, {"Link": f'<{path}?last={page[-1]}>; rel="next"'} if more else {}


@contextmanager
def fake_registry() -> Iterator[FakeRegistry]:
    """One that answers on loopback; the engine's address is `tcp://` and the same."""
    found = FakeRegistry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place = urlsplit(self.path)
            status, told, headers = found.answer(unquote(place.path), parse_qs(place.query), self.headers)
            body = json.dumps(told).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.address = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
