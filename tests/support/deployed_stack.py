"""The product's own stack, deployed by the Compose runtime on a real engine, and people at work on it."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from backups.secret import write_secret
from portal.runtime.compose import ComposeRuntime
from portal.runtime.compose.client import Docker
from portal.runtime.paths import RuntimePaths
from portal.runtime.spec import StackSpec, load_stack
from tests.support import docker_stack
from tests.support.docker_engine import Engine

ADMIN = "admin@ragkeep.local"
MEGABYTES = 5
SHORT = ("search", "upload", "delete")


@dataclass(frozen=True)
class DeployedStack:
    """The stack below `root`, started; `spec` describes it as it was deployed first."""

    engine: Engine
    runtime: ComposeRuntime
    spec: StackSpec
    root: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.runtime.locate(self.spec).port('nginx', 8080)}"

    @property
    def file(self) -> Path:
        """The rendered project as plain Compose is given it."""
        return self.root / "compose.json"

    def secret(self, name: str) -> str:
        return self.runtime.locate(self.spec).secret(name).read_text().strip()

    def release(self, mark: str) -> StackSpec:
        """The same stack with another api and another chat: each has `mark` in its environment."""
        overlay = self.root / f"release-{mark}.yaml"
        marked = {"environment": {"RELEASE": mark}}
        overlay.write_text(json.dumps({"services": {"api": marked, "frontend": marked}}))
        return self.spec.derive(overlays=[*self.spec.overlays, overlay])

    def compose(self, *words: str, timeout: float = 300) -> None:
        """Run plain `docker compose` on the project; what it is to bring up stands in `file`."""
        base = ["compose", "--project-name", self.spec.project, "--file", str(self.file)]
        self.engine.docker(*base, *words, timeout=timeout)

    def client(self) -> httpx.Client:
        """A client of the API through nginx, signed in as the administrator."""
        login = {"email": ADMIN, "password": self.secret("admin_password")}
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as asking:
            token = asking.post("/api/session", json=login).raise_for_status().json()["token"]
        headers, limits = {"Authorization": f"Bearer {token}"}, httpx.Limits(max_connections=200)
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, headers=headers, limits=limits)


def described(engine: Engine, root: Path, project: str) -> DeployedStack:
    """The stack with secrets below `root`; nothing is started."""
    runtime = ComposeRuntime(RuntimePaths(root / "var"), Docker(engine.host, engine.config))
    folder = runtime.paths.stack_file.parent
    spec = load_stack(runtime.paths.stack_file, project=project).derive(overlays=[folder / "offline.yaml"])
    runtime.locate(spec).secrets.mkdir(parents=True, mode=0o700)
    for name in spec.secrets:
        write_secret(runtime.locate(spec).secret(name), secrets.token_urlsafe(24))
    return DeployedStack(engine, runtime, spec, root)


@contextmanager
def deployed(engine: Engine, root: Path, project: str = "") -> Iterator[DeployedStack]:
    """The stack, healthy; removed with its volumes at the end."""
    docker_stack.build(engine)
    found = described(engine, root, project or f"test-{secrets.token_hex(4)}")
    try:
        found.runtime.apply(found.spec, timeout=400)
        found.file.write_text(found.runtime.rendered(found.spec).text)
        yield found
    finally:
        found.runtime.remove(found.spec, data=True)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a client: its kind, when it began (monotonic) and how long it took, and why it failed if it did."""

    kind: str
    began: float
    seconds: float
    fault: str = ""


@dataclass
class People:
    """Clients who work until the block of `at_work` ends; `streaming` counts the answers that have begun to stream."""

    stack: DeployedStack
    client: httpx.Client
    calls: list[Call] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    answers: list[threading.Thread] = field(default_factory=list)
    streaming: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def failed(self) -> list[Call]:
        return [call for call in list(self.calls) if call.fault]

    def slowest(self) -> Call:
        """The slowest of the short calls."""
        return max((call for call in list(self.calls) if call.kind in SHORT), key=lambda call: call.seconds)

    def count(self, *kinds: str) -> int:
        return sum(call.kind in kinds for call in list(self.calls))

    def do(self, kind: str, act: Callable[[], None]) -> None:
        began, fault = time.monotonic(), ""
        try:
            act()
        except httpx.HTTPStatusError as error:
            said = error.response.text if error.response.is_stream_consumed else ""
            fault = f"status {error.response.status_code}: {said[:200]}"
        except (httpx.HTTPError, ValueError) as error:
            fault = f"{type(error).__name__}: {error}"
        self.calls.append(Call(kind, began, time.monotonic() - began, fault))

    def search(self) -> None:
        self.client.post("/api/search", json={"question": "When is the lighthouse lit?"}).raise_for_status().json()

    def upload(self) -> None:
        # Large to carry and quick to read, so that what is measured is not the model.
        filler = secrets.token_hex(MEGABYTES * 512 * 1024)
        page = f"<html><body><p>The buoy {secrets.token_hex(4)} is red.</p><!-- {filler} --></body></html>"
        files = {"file": (f"buoy-{secrets.token_hex(4)}.html", page.encode())}
        answer = self.client.post("/api/documents", files=files).raise_for_status()
        self.documents.append(str(answer.json()["id"]))

    def delete(self) -> None:
        if self.documents:
            self.client.delete(f"/api/documents/{self.documents.pop(0)}").raise_for_status()

    def ask(self) -> None:
        """One streamed answer, to its end."""
        body = {"question": "When is the lighthouse of Utsira lit?", "stream": True}
        with self.client.stream("POST", "/api/ask", json=body, timeout=300) as answer:
            answer.raise_for_status()
            self.streaming += 1
            if not any(line == "event: done" for line in answer.iter_lines()):
                raise ValueError("the stream ended before the answer did")

    def begin_answer(self) -> None:
        """Have an answer streamed beside everything else; the end of `at_work` waits for it."""
        self.answers.append(threading.Thread(target=self.do, args=("ask", self.ask), daemon=True))
        self.answers[-1].start()


def _paced(people: People) -> None:
    """Twenty calls a second: of forty, two uploads and two deletions."""
    acts = {0: ("upload", people.upload), 10: ("delete", people.delete)}
    waiting: list[threading.Thread] = []
    begun = time.monotonic()
    for number in range(10**9):
        if people.ended.wait(max(0.0, begun + number / 20 - time.monotonic())):
            break
        kind, act = acts.get(number % 20, ("search", people.search))
        waiting.append(threading.Thread(target=people.do, args=(kind, act), daemon=True))
        waiting[-1].start()
    for thread in waiting:
        thread.join(60)


@contextmanager
def at_work(stack: DeployedStack) -> Iterator[People]:
    """Twenty calls a second until the block ends: searches, and each second an upload of 5 MB and a deletion."""
    with stack.client() as client:
        people = People(stack, client)
        pace = threading.Thread(target=_paced, args=(people,), daemon=True)
        pace.start()
        try:
            yield people
        finally:
            people.ended.set()
            for thread in (pace, *people.answers):
                thread.join(300)


def fact(client: httpx.Client, wait: Callable[[Callable[[], bool]], None]) -> None:
    """Have one document that answers the questions above."""
    text = b"The lighthouse of Utsira is lit at half past nine in the evening, says the book of the keeper."
    sent = client.post("/api/documents", files={"file": ("utsira.txt", text)}).raise_for_status().json()["id"]
    wait(lambda: client.get(f"/api/documents/{sent}").raise_for_status().json()["state"] == "ready")
