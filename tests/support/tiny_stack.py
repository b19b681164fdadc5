"""A stack of small web servers, for tests of runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from portal.runtime.spec import StackSpec, parse_stack

# Answers every GET with its GREETING; prints when it starts, so that there is something to read in its log.
SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(os.environ["GREETING"].encode())
    def log_message(self, *_): pass
print("serving on", sys.argv[2], flush=True)
http.server.HTTPServer((sys.argv[4], int(sys.argv[2])), Handler).serve_forever()
"""
BROKEN = "import sys; sys.exit('no configuration found')"


def service(greeting: str, *, port: int, offset: int, needs: tuple[str, ...] = ()) -> dict[str, Any]:
    """One web server as a stack file describes it."""
    return {
        "command": ["python", "-u", "-c", SERVER, "--port", str(port), "--host", "0.0.0.0"],
        "environment": {"GREETING": greeting},
        "depends_on": {name: {"condition": "service_healthy"} for name in needs},
        "x-ragkeep": {
            "title": greeting.title(),
            "ports": {port: offset},
            "ready": {"http": "/", "port": port, "seconds": 20},
        },
    }


def tree(**changes: dict[str, Any]) -> dict[str, Any]:
    """A stack of three: `front` needs `middle` needs `store`."""
    services = {
        "front": service("front", port=8003, offset=2, needs=("middle",)),
        "middle": service("middle", port=8002, offset=1, needs=("store",)),
        "store": service("store", port=8001, offset=0),
    }
    return {"name": "tiny", "services": {**services, **changes}, "volumes": {}, "secrets": {}}


def tiny(project: str = "tiny", **changes: dict[str, Any]) -> StackSpec:
    """The stack of three, services changed by name."""
    return parse_stack(tree(**changes), Path("tiny.yaml"), project=project)
