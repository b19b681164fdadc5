"""A stack of small web servers, for tests of runtimes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from backups import process
from portal.runtime.spec import StackSpec, load_stack, parse_stack
from tests.support import docker_engine

IMAGE = "ragkeep/tiny:1"
DOCKERFILE = f"FROM {docker_engine.BASE_IMAGE}\nRUN ln -s python3 /usr/bin/python\nUSER 1000:1000\n"

# Answers every GET with its GREETING; prints when it starts, so that there is something to read in its log. The first
# process of a container ends on a signal only if it says so.
SERVER = """
import http.server, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(os.environ["GREETING"].encode())
    def log_message(self, *_): pass
print("serving on", sys.argv[2], flush=True)
http.server.HTTPServer((sys.argv[4], int(sys.argv[2])), Handler).serve_forever()
"""
BROKEN = "import sys; sys.exit('no configuration found')"
ASK = "import sys, urllib.request as u; u.urlopen(f'http://127.0.0.1:{sys.argv[1]}', timeout=2)"


def service(greeting: str, *, port: int, offset: int, needs: tuple[str, ...] = ()) -> dict[str, Any]:
    """One web server as a stack file describes it."""
    return {
        "command": ["python", "-u", "-c", SERVER, "--port", str(port), "--host", "0.0.0.0"],
        "environment": {"GREETING": greeting},
        "depends_on": {name: {"condition": "service_healthy"} for name in needs},
        "healthcheck": {
            "test": ["CMD", "python", "-c", ASK, str(port)],
            "interval": "500ms",
            "timeout": "5s",
            "retries": 40,
        },
        "x-ragkeep": {
            "title": greeting.title(),
            "ports": {str(port): offset},
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
    with_image = {name: {"image": IMAGE, **config} for name, config in {**services, **changes}.items()}
    return {"name": "tiny", "services": with_image, "volumes": {}, "secrets": {}}


def tiny(project: str = "tiny", folder: Path | None = None, **changes: dict[str, Any]) -> StackSpec:
    """The stack of three, services changed by name; with `folder`, its file is written there."""
    if folder is None:
        return parse_stack(tree(**changes), Path("tiny.yaml"), project=project)
    return written(tree(**changes), folder, project)


def written(content: dict[str, Any], folder: Path, project: str) -> StackSpec:
    """A stack whose file lies in `folder`, as runtimes that read it themselves need it."""
    file = folder / "tiny.yaml"
    # JSON is YAML too, and quotes every text.
    file.write_text(json.dumps(content))
    return load_stack(file, project=project)


def build_image(engine: docker_engine.Engine) -> None:
    """Have the image of the small servers: Debian's own Python, run by an ordinary user."""
    docker_engine.base_image(engine)
    if not engine.has_image(IMAGE):
        process.run(["docker", "build", "--tag", IMAGE, "-"], env=engine.environ, stdin=DOCKERFILE, timeout=300)
