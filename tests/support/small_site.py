"""A web server behind an nginx as the product has it, in containers: what start-first replacement is tested with."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from portal.runtime.spec import StackSpec, load_stack
from tests.support import docker_stack, tiny_stack
from tests.support.docker_engine import Engine

NGINX = "ragkeep/nginx:1.26"
PORT = 8000

# Says its MARK; /stream says so again and again for as many seconds as the query asks; /idle is 503 meanwhile. It
# listens DELAY seconds after its start, and never with DELAY below 0.
SERVER = """
import http.server, os, signal, sys, threading, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
busy = []
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        path, _, seconds = self.path.partition("?")
        if path == "/idle":
            return self.say(503 if busy else 200)
        busy.append(1)
        try:
            self.stream(float(seconds)) if path == "/stream" else self.say(200)
        finally:
            busy.pop()
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()
    def say(self, status):
        body = os.environ["MARK"].encode()
        self.send_response(status); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def stream(self, seconds):
        self.send_response(200); self.send_header("Connection", "close"); self.end_headers()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.wfile.write(os.environ["MARK"].encode() + b" "); self.wfile.flush(); time.sleep(0.2)
        self.wfile.write(b"done"); self.close_connection = True
    def log_message(self, *_): pass
delay = float(os.environ.get("DELAY", "0"))
print("delayed", flush=True)
time.sleep(delay if delay >= 0 else 100000)
http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
"""
ASK = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{PORT}/%s', timeout=2)"
TEMPLATE = """
daemon off; worker_processes 1; pid ${RAGKEEP_RUN}/nginx.pid; error_log stderr warn; worker_shutdown_timeout 60s;
events { worker_connections 256; }
http {
    client_body_temp_path ${RAGKEEP_RUN}/body; proxy_temp_path ${RAGKEEP_RUN}/proxy;
    fastcgi_temp_path ${RAGKEEP_RUN}/fastcgi; uwsgi_temp_path ${RAGKEEP_RUN}/uwsgi; scgi_temp_path ${RAGKEEP_RUN}/scgi;
    access_log off;
    upstream web { include ${RAGKEEP_RUN}/instances/web.conf; keepalive 8; }
    server {
        listen 8080;
        keepalive_timeout 0;
        location = /nginx-health { return 200 ok; }
        location / {
            proxy_pass http://web; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_buffering off; proxy_request_buffering off; proxy_connect_timeout 5s;
        }
    }
}
"""


def written(folder: Path, project: str, mark: str, *, count: int = 1, **environment: str) -> StackSpec:
    """The stack, its file and nginx's templates in `folder`; `mark` is what this release of the server says."""
    templates = folder / "nginx" / "instances"
    templates.mkdir(parents=True, exist_ok=True)
    (folder / "nginx" / "nginx.conf.template").write_text(TEMPLATE)
    (templates / "web.conf.template").write_text("server ${RAGKEEP_WEB} max_fails=0;\n")
    services = {"web": _web({"MARK": mark, **environment}, count), "edge": _edge()}
    content = {"name": "site", "services": services, "volumes": {}, "secrets": {}}
    file = folder / "site.yaml"
    file.write_text(json.dumps(content))
    return load_stack(file, project=project)


def _web(environment: dict[str, str], count: int) -> dict[str, Any]:
    return {
        "image": tiny_stack.IMAGE,
        "command": ["python", "-u", "-c", SERVER, str(PORT)],
        "environment": environment,
        "deploy": {"replicas": count},
        "stop_grace_period": "3s",
        "healthcheck": {
            "test": ["CMD", "python", "-c", ASK % ""],
            "interval": "500ms",
            "timeout": "3s",
            "retries": 100,
        },
        "x-ragkeep": {
            "ports": {str(PORT): 1},
            "replace": "start-first",
            "idle": ["python", "-c", ASK % "idle"],
            "ready": {"http": "/", "port": PORT, "seconds": 20},
        },
    }


def _edge() -> dict[str, Any]:
    return {
        "image": NGINX,
        "user": "101:101",
        "command": ["nginx", "-c", "/run/nginx/nginx.conf"],
        "environment": {
            "NGINX_ENVSUBST_TEMPLATE_DIR": "/etc/site",
            "NGINX_ENVSUBST_OUTPUT_DIR": "/run/nginx",
            "NGINX_ENVSUBST_FILTER": "^RAGKEEP_",
            "RAGKEEP_RUN": "/run/nginx",
            "RAGKEEP_WEB": f"web:{PORT}",
        },
        "volumes": ["./nginx:/etc/site:ro"],
        "tmpfs": ["/run/nginx:mode=0700,uid=101,gid=101"],
        "ports": ["127.0.0.1:9:8080"],
        "depends_on": {"web": {"condition": "service_healthy"}},
        "healthcheck": {"test": ["CMD", "wget", "-qO-", "http://127.0.0.1:8080/nginx-health"], "interval": "500ms"},
        "x-ragkeep": {"ports": {"8080": 0}, "single": "it has the port of this host", "balances": {"web": PORT}},
    }


def build_images(engine: Engine) -> None:
    """Have both images."""
    tiny_stack.build_image(engine)
    docker_stack.build(engine, "nginx")


@dataclass
class Load:
    """Requests at a steady pace. `answers` counts the marks that were answered, `faults` says what went wrong,
    `slowest` is in seconds."""

    url: str
    answers: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def ask(self, number: int) -> None:
        began = time.monotonic()
        try:
            with httpx.Client(trust_env=False, timeout=10) as client:
                body = b"x" * 200_000 if number % 3 == 0 else None
                told = client.request("POST" if body else "GET", self.url, content=body).raise_for_status()
            self.answers[told.text] = self.answers.get(told.text, 0) + 1
        except httpx.HTTPError as error:
            self.faults.append(f"{type(error).__name__}: {error}")
        self.slowest = max(self.slowest, time.monotonic() - began)


@contextmanager
def steady(url: str, *, each: float = 0.05) -> Iterator[Load]:
    """Ask every `each` seconds, whether or not the last one was answered, until the block ends."""
    load, ended, threads = Load(url), threading.Event(), list[threading.Thread]()

    def run() -> None:
        number = 0
        while not ended.wait(each):
            number += 1
            threads.append(threading.Thread(target=load.ask, args=(number,), daemon=True))
            threads[-1].start()

    asking = threading.Thread(target=run, daemon=True)
    asking.start()
    try:
        yield load
    finally:
        ended.set()
        asking.join()
        for thread in threads:
            thread.join(15)
