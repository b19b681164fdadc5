"""nginx with our template before real upstreams: origins, cookies, streams, limits, maintenance."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import httpx
import pytest

from backups import process
from portal.runtime.launchers.nginx import write
from portal.runtime.paths import CHECKOUT
from tests.support.servers import NGINX, free_port, wait_until

pytestmark = pytest.mark.integration
LIMIT = 4096


class Upstream(http.server.BaseHTTPRequestHandler):
    """Says who it is and what it was sent; /stream sends one line, waits for leave, and sends the next."""

    protocol_version = "HTTP/1.1"
    go_on: ClassVar[threading.Event] = threading.Event()

    def do_GET(self) -> None:
        if self.path.endswith("/stream"):
            self._stream()
            return
        length = int(self.headers.get("Content-Length", 0))
        body = {
            "port": self.server.server_port,  # type: ignore[attr-defined]
            "path": self.path,
            "headers": {key.lower(): value for key, value in self.headers.items()},
            "received": len(self.rfile.read(length)),
        }
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"data: first\n\n")
        self.wfile.flush()
        self.go_on.wait(10)
        self.wfile.write(b"data: second\n\n")
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def upstream() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class Edge:
    chat: str
    portal: str
    inside: str
    api_port: int
    frontend_port: int
    portal_port: int
    log: Path
    conf: Path


@contextmanager
def edge(folder: Path, ports: tuple[int, int, int]) -> Iterator[Edge]:
    """nginx before the API, the chat and the portal on these ports."""
    chat, portal, inside = free_port(), free_port(), free_port()
    values = {
        "RAGKEEP_RUN": str(folder),
        "RAGKEEP_PAGES": str(CHECKOUT / "config" / "nginx"),
        "RAGKEEP_TRANSPORT": str(CHECKOUT / "config" / "nginx" / "plain.conf"),
        "RAGKEEP_CHAT_LISTEN": f"127.0.0.1:{chat}",
        "RAGKEEP_PORTAL_LISTEN": f"127.0.0.1:{portal}",
        "RAGKEEP_INSIDE_LISTEN": f"127.0.0.1:{inside}",
        "RAGKEEP_API": f"127.0.0.1:{ports[0]}",
        "RAGKEEP_FRONTEND": f"127.0.0.1:{ports[1]}",
        "RAGKEEP_PORTAL": f"127.0.0.1:{ports[2]}",
        "RAGKEEP_PORTAL_ORIGIN": f"http://$host:{portal}",
        "RAGKEEP_MAX_UPLOAD": str(LIMIT),
    }
    conf = write(CHECKOUT / "config" / "nginx", folder, values)
    log = folder / "out.log"
    argv = ["sh", "-c", f'exec "{NGINX}" -c "{conf}" -p "{folder}" -e stderr >"{log}"']
    with process.Running(argv) as running:
        wait_until(lambda: _listens(chat), what=f"nginx {running.stderr}")
        urls = [f"http://127.0.0.1:{port}" for port in (chat, portal, inside)]
        yield Edge(urls[0], urls[1], urls[2], *ports, log, conf)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with upstream() as api, upstream() as chat, upstream() as portal:
        ports = (api.server_port, chat.server_port, portal.server_port)
        with edge(tmp_path_factory.mktemp("nginx"), ports) as found:
            yield found


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with edge(tmp_path_factory.mktemp("nginx-dead"), (free_port(), free_port(), free_port())) as found:
        yield found


def test_nginx_accepts_its_configuration(site: Edge) -> None:
    process.run([str(NGINX), "-t", "-q", "-c", str(site.conf), "-p", str(site.conf.parent), "-e", "stderr"])


def test_each_address_reaches_its_service(site: Edge) -> None:
    assert httpx.get(f"{site.chat}/").json()["port"] == site.frontend_port
    answer = httpx.get(f"{site.chat}/api/documents?limit=1").json()
    assert (answer["port"], answer["path"]) == (site.api_port, "/api/documents?limit=1")
    answer = httpx.get(f"{site.chat}/v1/models/hf.co/a/b").json()
    assert (answer["port"], answer["path"]) == (site.api_port, "/v1/models/hf.co/a/b")
    assert httpx.get(f"{site.portal}/sets/").json()["port"] == site.portal_port


def test_upstreams_learn_host_and_client(site: Edge) -> None:
    for origin, path in ((site.portal, "/"), (site.chat, "/"), (site.chat, "/api/me"), (site.chat, "/v1/models")):
        headers = httpx.get(f"{origin}{path}", headers={"X-Forwarded-For": "6.6.6.6"}).json()["headers"]
        assert headers["host"] == origin.removeprefix("http://")
        assert headers["x-forwarded-for"] == "127.0.0.1"
        assert headers["x-forwarded-proto"] == "http"
        assert headers.get("connection", "") != "close"


def test_the_portal_on_the_chats_origin_only_redirects(site: Edge) -> None:
    for path in ("/portal", "/portal/", "/portal/sets/?x=1"):
        answer = httpx.get(f"{site.chat}{path}")
        assert answer.status_code == 302
        assert answer.headers["location"] == f"{site.portal}/"


def test_internal_routes_stay_inside(site: Edge) -> None:
    for path in ("/internal/counts", "/internal/nearest", "/api/../internal/counts", "//internal/counts"):
        answer = httpx.get(f"{site.chat}{path}")
        assert answer.status_code == 404, path


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        ("ragkeep_portal=s", ""),
        ("ragkeep_portal=s; ragkeep_portal_csrf=c", ""),
        ("ragkeep_portal_csrf=c; ragkeep_portal=s", ""),
        ("a=1; ragkeep_portal=s; b=2; ragkeep_portal_csrf=c; d=3", "a=1; b=2; d=3"),
        ("ragkeep_portal_csrf=c; a=1", "a=1"),
        ("my_ragkeep_portal=1; ragkeep_portals=2", "my_ragkeep_portal=1; ragkeep_portals=2"),
        ("ragkeep_portal=s; ragkeep_portal=t", ""),
        ("_streamlit_xsrf=x", "_streamlit_xsrf=x"),
    ],
)
def test_the_portals_cookies_never_reach_the_chat(site: Edge, sent: str, arrives: str) -> None:
    for path in ("/", "/api/me", "/v1/models"):
        headers = httpx.get(f"{site.chat}{path}", headers={"Cookie": sent}).json()["headers"]
        assert headers.get("cookie", "").rstrip("; ") == arrives, path
    kept = httpx.get(f"{site.portal}/", headers={"Cookie": sent}).json()["headers"]
    assert kept["cookie"] == sent


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        ("ragkeep_chat=s", ""),
        ("ragkeep_portal=p; ragkeep_chat=s; a=1", "ragkeep_portal=p; a=1"),
        ("ragkeep_chat=s; ragkeep_chat=t", ""),
        ("my_ragkeep_chat=1", "my_ragkeep_chat=1"),
    ],
)
def test_the_chats_cookie_never_reaches_the_portal(site: Edge, sent: str, arrives: str) -> None:
    headers = httpx.get(f"{site.portal}/", headers={"Cookie": sent}).json()["headers"]
    assert headers.get("cookie", "").rstrip("; ") == arrives


def test_the_chat_may_only_talk_to_its_own_origin(site: Edge) -> None:
    policy = httpx.get(f"{site.chat}/").headers["content-security-policy"]
    host = site.chat.removeprefix("http://")
    assert "default-src 'self'; " in policy
    assert f"connect-src 'self' ws://{host} wss://{host}; " in policy
    assert "http://" not in policy
    for path in ("/api/me", "/v1/models"):
        assert "content-security-policy" not in httpx.get(f"{site.chat}{path}").headers


def test_the_chat_learns_that_the_api_is_on_its_origin(site: Edge) -> None:
    spoofed = {"X-Ragkeep-Origin": "elsewhere"}
    assert httpx.get(f"{site.chat}/", headers=spoofed).json()["headers"]["x-ragkeep-origin"] == "chat"


@pytest.mark.parametrize(("origin", "path"), [("chat", "/api/stream"), ("chat", "/v1/stream"), ("portal", "/stream")])
def test_streams_arrive_piece_by_piece(site: Edge, origin: str, path: str) -> None:
    Upstream.go_on.clear()
    url = f"{site.chat if origin == 'chat' else site.portal}{path}"
    with httpx.stream("GET", url, timeout=5) as answer:
        lines = answer.iter_lines()
        # The upstream sends no more before it is told to: a buffering proxy would time out here.
        assert next(lines) == "data: first"
        Upstream.go_on.set()
        assert [line for line in lines if line] == ["data: second"]


def test_the_chat_can_open_a_websocket(site: Edge) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    sent = httpx.get(f"{site.chat}/_stcore/chat", headers=headers).json()["headers"]
    assert (sent["connection"], sent["upgrade"]) == ("upgrade", "websocket")


def test_uploads_have_a_limit_and_are_refused_early(site: Edge) -> None:
    assert httpx.post(f"{site.chat}/api/documents", content=b"x" * LIMIT).json()["received"] == LIMIT
    refused = httpx.post(f"{site.chat}/api/documents", content=b"x" * (LIMIT + 1))
    assert refused.status_code == 413
    assert refused.headers["content-type"] == "application/json"
    error = refused.json()["error"]
    assert error["code"] == "too_large"
    assert f"{LIMIT} bytes" in error["message"]


def test_the_chats_server_reaches_the_api_and_nothing_else_by_way_of_the_entrance(site: Edge) -> None:
    sent = {"Authorization": "Bearer t"}
    answer = httpx.get(f"{site.inside}/api/me", headers=sent).json()
    assert (answer["port"], answer["headers"]["authorization"]) == (site.api_port, "Bearer t")
    for path in ("/", "/internal/counts", "/portal/"):
        assert httpx.get(f"{site.inside}{path}").status_code == 404, path


def test_a_connection_to_the_api_serves_one_request(site: Edge) -> None:
    # One that is kept could be closed by a change of the lists just as the next request is on its way.
    for url in (f"{site.chat}/api/me", f"{site.chat}/v1/models", f"{site.inside}/api/me"):
        assert httpx.get(url).headers["connection"] == "close"


def test_who_signs_in_all_the_time_is_asked_to_wait_and_others_are_not(site: Edge) -> None:
    with httpx.Client() as client:
        told = [client.post(f"{site.chat}/api/session", json={}) for _ in range(60)]
        refused = [answer for answer in told if answer.status_code == 429]
        assert 40 <= len(told) - len(refused) < 60
        assert refused[-1].json()["error"]["code"] == "too_many_requests"
        assert refused[-1].headers["retry-after"] == "1"
        assert client.delete(f"{site.chat}/api/session").status_code != 429
        assert client.get(f"{site.chat}/api/me").status_code == 200


def test_a_browser_stays_with_one_instance_of_the_chat(tmp_path: Path) -> None:
    with upstream() as one, upstream() as two, edge(tmp_path, (1, one.server_port, 1)) as site:
        listed = "".join(f"server 127.0.0.1:{server.server_port};\n" for server in (one, two))
        (tmp_path / "instances" / "frontend.conf").write_text(listed)
        process.run([str(NGINX), "-s", "reload", "-c", str(site.conf), "-p", str(tmp_path), "-e", "stderr"])

        def served(browser: str) -> int:
            cookies = {"Cookie": f"_streamlit_xsrf={browser}"}
            return int(httpx.get(f"{site.chat}/", headers=cookies).json()["port"])

        wait_until(lambda: len({served(str(n)) for n in range(20)}) == 2, what="the new list", seconds=5)
        assert all(len({served(str(browser)) for _ in range(5)}) == 1 for browser in range(20))


def test_security_headers_on_the_chats_origin(site: Edge) -> None:
    headers = httpx.get(f"{site.chat}/").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["server"] == "nginx"


def test_the_log_is_json_without_queries_and_cookies(site: Edge) -> None:
    httpx.get(f"{site.chat}/api/logged?token=geheim", headers={"Cookie": "a=geheim"})
    wait_until(lambda: "/api/logged" in site.log.read_text(), what="the access log", seconds=5)
    entries = [json.loads(line) for line in site.log.read_text().splitlines()]
    (found,) = [entry for entry in entries if entry["path"] == "/api/logged"]
    assert (found["origin"], found["method"], found["status"]) == ("chat", "GET", 200)
    assert "geheim" not in site.log.read_text()


def test_a_service_that_is_down_shows_the_maintenance_page(dead: Edge) -> None:
    began = time.monotonic()
    for url in (f"{dead.chat}/", f"{dead.portal}/sets/"):
        answer = httpx.get(url)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "10"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"].startswith("text/html")
        assert "Back in a moment" in answer.text
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("path", ["/api/ask", "/v1/chat/completions"])
def test_an_api_that_is_down_answers_programs_in_their_format(dead: Edge, path: str) -> None:
    answer = httpx.post(f"{dead.chat}{path}", json={})
    assert answer.status_code == 503
    error = answer.json()["error"]
    assert (error["code"], error["type"], error["param"]) == ("unavailable", "server_error", None)
    assert answer.headers["retry-after"] == "10"


def test_health_needs_no_upstream(dead: Edge) -> None:
    assert httpx.get(f"{dead.chat}/nginx-health").text == "ok\n"
