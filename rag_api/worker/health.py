"""The ingest process's answers to whoever watches it: GET /health and GET /ready."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def start_health_server(host: str, port: int, report: Callable[[], tuple[bool, dict[str, Any]]]) -> ThreadingHTTPServer:
    """Serve in threads of its own; `report` returns whether the process is ready, and the details.

    Raises:
        OSError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/health":
                self._answer(200, {"status": "ok"})
            elif self.path == "/ready":
                ready, details = report()
                self._answer(200 if ready else 503, {"ready": ready, **details})
            else:
                self._answer(404, {"error": {"code": "not_found", "message": "There is only /health and /ready."}})

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: probes come every second."""

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
