"""The chat as people meet it: Streamlit and nginx before the RAG service."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backups import process
from portal.runtime.launchers.nginx import write
from tests.support.rag_stack import RagStack
from tests.support.servers import NGINX, REPO, free_port, http_ok, wait_until


@dataclass(frozen=True, slots=True)
class ChatSite:
    """`url` is nginx's origin for chat and API, `direct` Streamlit's own."""

    url: str
    direct: str


@contextmanager
def chat_site(folder: Path, rag: RagStack) -> Iterator[ChatSite]:
    """Start both before a running service."""
    port = free_port()
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "API_URL": rag.api_url,
        "MAX_UPLOAD_BYTES": rag.env["MAX_UPLOAD_BYTES"],
    }
    argv = [
        sys.executable, "-m", "streamlit", "run", "frontend/app.py", "--server.address", "127.0.0.1",
        "--server.port", str(port), "--server.headless", "true",
    ]  # fmt: skip
    with process.Running(argv, env=env, cwd=REPO) as streamlit, _nginx(folder / "nginx", rag, port) as url:
        streamlit.discard_output()
        direct = f"http://127.0.0.1:{port}"
        wait_until(lambda: http_ok(f"{direct}/_stcore/health"), what="the chat")
        yield ChatSite(url, direct)


@contextmanager
def _nginx(folder: Path, rag: RagStack, frontend: int) -> Iterator[str]:
    port, portal, inside = free_port(), free_port(), free_port()
    values = {
        "RAGKEEP_RUN": str(folder),
        "RAGKEEP_PAGES": str(REPO / "config" / "nginx"),
        "RAGKEEP_TRANSPORT": str(REPO / "config" / "nginx" / "plain.conf"),
        "RAGKEEP_CHAT_LISTEN": f"127.0.0.1:{port}",
        "RAGKEEP_PORTAL_LISTEN": f"127.0.0.1:{portal}",
        "RAGKEEP_INSIDE_LISTEN": f"127.0.0.1:{inside}",
        "RAGKEEP_API": rag.api_url.removeprefix("http://"),
        "RAGKEEP_FRONTEND": f"127.0.0.1:{frontend}",
        "RAGKEEP_PORTAL": f"127.0.0.1:{portal}",
        "RAGKEEP_PORTAL_ORIGIN": f"http://$host:{portal}",
        "RAGKEEP_MAX_UPLOAD": rag.env["MAX_UPLOAD_BYTES"],
    }
    conf = write(REPO / "config" / "nginx", folder, values)
    with process.Running([str(NGINX), "-c", str(conf), "-p", str(folder), "-e", "stderr"]) as nginx:
        nginx.discard_output()
        wait_until(lambda: http_ok(f"http://127.0.0.1:{port}/nginx-health"), what="nginx")
        yield f"http://127.0.0.1:{port}"
