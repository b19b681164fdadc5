"""What may be asked of the Docker Engine by the process that shows pages, and what of the answers is left out."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from portal.runtime.compose.readproxy import ReadProxy, container_masked, question, volumes_masked

MARK = "a-secret-value"
ASKED = (
    "/_ping", "/version", "/events", "/containers/json", "/images/json", "/networks", "/volumes",
    "/containers/rag-api-1/json", "/containers/0123abcd/logs", "/v1.41/containers/rag-api-1/stats",
)  # fmt: skip
REFUSED = (
    "/info", "/secrets", "/configs", "/swarm", "/system/df", "/images/ragkeep/json", "/exec/1/json",
    "/containers/a/top",
    "/containers/a/archive", "/containers/a/export", "/containers/a/attach/ws", "/containers/a/attach", "/containers/a",
    "/containers/a/changes", "/containers//json", "//containers/json", "/./containers/json", "/containers/json/",
    "/containers/../containers/json", "/containers/a/../b/archive", "/containers/%2e%2e/json",
    "/containers/a%2farchive",
    "/containers/a/%61rchive", "/containers/a/json/../archive", "/containers/./json", "/v1.41/../v1.41/info",
    "/v1/containers/json", "/v1.41//containers/json", "/containers/json?all=1", "/containers/json#x", "/session", "",
    "/volumes/rag_postgres", "/containers/a b/json", "/containers/a;b/json", "/CONTAINERS/JSON", "/networks/edge",
)  # fmt: skip


@pytest.mark.parametrize("path", ASKED)
def test_what_pages_need_may_be_asked(path: str) -> None:
    assert question("GET", path.encode()) is not None


@pytest.mark.parametrize("path", REFUSED)
def test_nothing_else_may_be_asked(path: str) -> None:
    assert question("GET", path.encode()) is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "get"])
def test_nothing_is_written(method: str) -> None:
    assert question(method, b"/containers/json") is None


def test_a_container_loses_its_environment_and_the_options_of_its_log() -> None:
    tree: dict[str, Any] = {
        "Id": "x",
        "Config": {"Env": [f"PASSWORD={MARK}"], "Image": "i"},
        "HostConfig": {"LogConfig": {"Type": "splunk", "Config": {"splunk-token": MARK}}, "Memory": 1},
    }
    told = container_masked(tree)
    assert MARK not in json.dumps(told)
    assert (told["Id"], told["Config"]["Image"], told["HostConfig"]["Memory"]) == ("x", "i", 1)
    assert tree["Config"]["Env"], "what was given is left as it is"


def test_volumes_lose_the_options_of_their_drivers() -> None:
    tree = {"Volumes": [{"Name": "share", "Options": {"o": f"username=a,password={MARK}"}}], "Warnings": None}
    assert volumes_masked(tree) == {"Volumes": [{"Name": "share", "Options": None}], "Warnings": None}


class Engine:
    """Stands in for an engine on a unix socket: notes what it is asked and answers with one container."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.asked: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[0])
        body = json.dumps({"Id": "x", "Config": {"Env": [f"PASSWORD={MARK}"]}, "HostConfig": {}}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    def ask(self, method: str, path: str, **given: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own arguments
        """One request through the proxy."""

        async def run() -> httpx.Response:
            server = await asyncio.start_unix_server(self.answer, self.socket)
            transport = httpx.ASGITransport(ReadProxy(str(self.socket)))
            async with server, httpx.AsyncClient(transport=transport, base_url="http://proxy") as client:
                return await client.request(method, path, **given)

        return asyncio.run(run())


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path / "docker.sock")


def test_only_known_words_of_a_query_reach_the_engine(engine: Engine) -> None:
    told = engine.ask("GET", "/containers/x/json?size=1&path=/etc/shadow")
    assert engine.asked == ["GET /containers/x/json?size=1 HTTP/1.1"]
    assert MARK not in told.text
    assert told.json()["Config"]["Env"] == []


def test_what_may_not_be_asked_never_reaches_the_engine(engine: Engine) -> None:
    assert engine.ask("POST", "/containers/x/exec", json={"Cmd": ["sh"]}).status_code == 403
    assert engine.ask("GET", "/containers/x/archive?path=/run/secrets").status_code == 403
    assert engine.ask("GET", "/containers/json", headers={"Upgrade": "tcp", "Connection": "Upgrade"}).status_code == 403
    assert engine.asked == []


def test_an_engine_that_is_gone_is_told(tmp_path: Path) -> None:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(ReadProxy(str(tmp_path / "none.sock")))
        async with httpx.AsyncClient(transport=transport, base_url="http://proxy") as client:
            return await client.get("/version")

    assert asyncio.run(run()).status_code == 502
