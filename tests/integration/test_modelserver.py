"""The model server as a process, spoken to by Ollama's own client."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from ollama import Client, ResponseError

from backups import process
from tests.support.servers import REPO, free_port, http_ok, wait_until

pytestmark = pytest.mark.integration

CHAT = "smollm2:135m"
EMBED = "all-minilm"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
# A schema that forces a thousand numbers: far longer than any test waits.
ENDLESS = {"type": "array", "items": {"type": "integer"}, "minItems": 1000}


class Server:
    """A running model server and a client of it."""

    def __init__(self, running: process.Running, url: str, store: Path) -> None:
        self.running = running
        self.url = url
        self.store = store
        self.client = Client(url, timeout=120)

    def loaded(self) -> list[str]:
        return sorted(str(model.name) for model in self.client.ps().models)

    def blobs(self) -> set[str]:
        return {path.name for path in (self.store / "blobs").iterdir()}


@contextmanager
def serving(store: Path, *arguments: str) -> Iterator[Server]:
    port = free_port()
    argv = [sys.executable, "-m", "rag_api.modelserver", "--store", str(store), "--port", str(port), *arguments]
    with process.Running(argv, cwd=REPO) as running:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: http_ok(url), what="the model server")
        yield Server(running, url, store)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("models") / "store", "--max-queue", "1") as started:
        started.client.pull(CHAT)
        started.client.pull(EMBED)
        yield started


def similarity(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def children(pid: int) -> list[int]:
    """Processes whose parent is `pid`."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_says_what_it_is(server: Server) -> None:
    assert "running" in httpx.get(server.url).text
    assert httpx.get(f"{server.url}/api/version").json()["version"].count(".") == 2
    assert httpx.head(server.url).status_code == 200


def test_pull_streams_its_progress(server: Server) -> None:
    statuses = list(server.client.pull("smollm2", stream=True))

    assert statuses[0].status == "pulling manifest"
    assert statuses[-1].status == "success"
    assert any(status.total and status.total == status.completed for status in statuses)
    server.client.delete("smollm2")


def test_unknown_model_cannot_be_pulled(server: Server) -> None:
    for stream in (True, False):
        with pytest.raises(ResponseError, match=r"this server pulls from installed packages.*smollm2:135m") as refused:
            list(server.client.pull("llama3", stream=stream))
        assert refused.value.status_code == 404


def test_lists_models_with_their_details(server: Server) -> None:
    models = {model.model: model for model in server.client.list().models}

    assert set(models) == {CHAT, f"{EMBED}:latest"}
    chat = models[CHAT]
    assert chat.details is not None
    assert (chat.details.format, chat.details.family, chat.details.quantization_level) == ("gguf", "llama", "Q4_1")
    assert chat.details.parameter_size == "134.52M"
    assert chat.size is not None
    assert chat.size > 90_000_000


def test_shows_a_model(server: Server) -> None:
    chat, embed = server.client.show(CHAT), server.client.show(EMBED)

    assert chat.capabilities == ["completion"]
    assert chat.modelinfo is not None
    assert chat.modelinfo["llama.context_length"] == 8192
    assert "<|im_start|>" in (chat.template or "")
    assert "Apache License" in (chat.license or "")
    assert embed.capabilities == ["embedding"]
    assert embed.modelinfo is not None
    assert embed.modelinfo["bert.embedding_length"] == 384


def test_chat_answers_with_figures(server: Server) -> None:
    answer = server.client.chat(CHAT, QUESTION, options={"temperature": 0, "num_predict": 60})

    assert "Paris" in (answer.message.content or "")
    assert answer.done_reason == "stop"
    assert answer.prompt_eval_count is not None
    assert answer.prompt_eval_count > 20
    assert answer.eval_count is not None
    assert 1 <= answer.eval_count < 60
    assert answer.total_duration is not None
    assert answer.eval_duration is not None
    assert answer.total_duration >= answer.eval_duration > 0


def test_chat_streams_the_same_answer_token_by_token(server: Server) -> None:
    options = {"temperature": 0, "num_predict": 60}
    whole = server.client.chat(CHAT, QUESTION, options=options)

    parts = list(server.client.chat(CHAT, QUESTION, options=options, stream=True))

    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert len(parts) > 3
    assert parts[-1].eval_count == whole.eval_count


def test_options_bind(server: Server) -> None:
    def generate(**options: object) -> tuple[str, str | None]:
        answer = server.client.generate(CHAT, "Count: 1, 2, 3,", raw=True, options=options)
        return answer.response or "", answer.done_reason

    assert generate(temperature=0, num_predict=4)[1] == "length"
    text, reason = generate(temperature=0, num_predict=40, stop=["6"])
    assert (text.strip(), reason) == ("4, 5,", "stop")
    warm = {"temperature": 1.5, "num_predict": 12}
    assert generate(seed=7, **warm) == generate(seed=7, **warm)
    assert len({generate(seed=seed, **warm)[0] for seed in range(4)}) > 1


def test_generate_follows_system_prompt_and_schema(server: Server) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}}, "required": ["name"],
              "additionalProperties": False}  # fmt: skip

    answer = server.client.generate(
        CHAT, "Name a person.", system="Answer in JSON.", format=schema, options={"temperature": 0, "num_predict": 80}
    )

    assert set(json.loads(answer.response or "")) == {"name"}


def test_long_chats_lose_their_oldest_turns_but_never_the_system_prompt(server: Server) -> None:
    filler = [{"role": "user", "content": "x " * 200}, {"role": "assistant", "content": "ok"}]
    messages = [{"role": "system", "content": "Be brief."}, *filler, *filler, *QUESTION]
    options = {"num_ctx": 256, "num_predict": 4, "temperature": 0}

    answer = server.client.chat(CHAT, messages, options=options)
    assert answer.prompt_eval_count is not None
    assert answer.prompt_eval_count < 256

    with pytest.raises(ResponseError, match=r"tokens but the context holds 256.*num_ctx") as refused:
        server.client.chat(CHAT, [{"role": "user", "content": "x " * 400}], options=options)
    assert refused.value.status_code == 400


def test_embeddings_mean_something(server: Server) -> None:
    texts = ["A cat sits on the mat.", "A kitten is resting on a rug.", "Wing flutter at supersonic speed."]

    cat, kitten, wing = server.client.embed(EMBED, texts).embeddings

    assert len(cat) == 384
    assert math.isclose(similarity(cat, cat), 1, abs_tol=1e-5)
    assert similarity(cat, kitten) > 0.5 > similarity(cat, wing) + 0.2


def test_embeddings_do_not_depend_on_neighbours_or_call(server: Server) -> None:
    texts = [f"Sentence number {number} about " + "boundary layers " * number for number in range(20)]

    batch = server.client.embed(EMBED, texts)
    single = server.client.embed(EMBED, texts[19])
    legacy = server.client.embeddings(EMBED, texts[19])

    assert list(batch.embeddings[19]) == list(single.embeddings[0]) == list(legacy.embedding)
    assert batch.prompt_eval_count is not None
    assert single.prompt_eval_count is not None
    assert batch.prompt_eval_count > single.prompt_eval_count > 40


def test_embed_truncates_only_when_allowed(server: Server) -> None:
    long = "word " * 400
    assert server.client.embed(EMBED, long).prompt_eval_count == 256
    with pytest.raises(ResponseError, match="exceeds the context length of 256 tokens") as refused:
        server.client.embed(EMBED, long, truncate=False)
    assert refused.value.status_code == 400


def test_embed_checks_dimensions(server: Server) -> None:
    (short,) = server.client.embed(EMBED, "a cat", dimensions=64).embeddings
    assert len(short) == 64
    assert math.isclose(similarity(short, short), 1, abs_tol=1e-5)
    with pytest.raises(ResponseError, match="the model has 384") as refused:
        server.client.embed(EMBED, "a cat", dimensions=385)
    assert refused.value.status_code == 400
    assert server.client.embed(EMBED, []).embeddings == []


def test_keep_alive_loads_and_unloads(server: Server) -> None:
    server.client.generate(CHAT, "", keep_alive="10m")
    server.client.embed(EMBED, "a cat", keep_alive=-1)
    running = {model.name: model for model in server.client.ps().models}
    assert set(running) == {CHAT, f"{EMBED}:latest"}
    assert int(running[CHAT].size or 0) > 90_000_000

    assert server.client.generate(CHAT, "", keep_alive=0).done_reason == "unload"
    assert server.loaded() == [f"{EMBED}:latest"]
    server.client.embed(EMBED, "a cat", keep_alive=0.2)
    wait_until(lambda: not server.loaded(), what="unloading after the idle time", seconds=10)


def test_gone_client_frees_the_model(server: Server) -> None:
    stream = server.client.chat(CHAT, QUESTION, format=ENDLESS, stream=True)
    next(stream)
    stream.close()  # type: ignore[attr-defined]

    answer = server.client.chat(CHAT, QUESTION, options={"num_predict": 2, "temperature": 0})

    assert answer.total_duration is not None
    assert answer.total_duration < 15e9


def test_client_that_gives_up_on_a_whole_answer_frees_the_model(server: Server) -> None:
    with pytest.raises(httpx.ReadTimeout):
        Client(server.url, timeout=1).chat(CHAT, QUESTION, format=ENDLESS)

    answer = server.client.chat(CHAT, QUESTION, options={"num_predict": 2, "temperature": 0})

    assert answer.total_duration is not None
    assert answer.total_duration < 15e9


def test_full_queue_is_refused(server: Server) -> None:
    stream = server.client.chat(CHAT, QUESTION, format=ENDLESS, stream=True)
    next(stream)
    answers: list[str] = []

    def ask() -> None:
        try:
            server.client.chat(CHAT, QUESTION, options={"num_predict": 2})
            answers.append("answered")
        except ResponseError as error:
            answers.append(f"{error.status_code} {error.error}")

    # One may wait (--max-queue 1), so of two one is turned away at once while the other waits.
    waiting = [threading.Thread(target=ask) for _ in range(2)]
    for thread in waiting:
        thread.start()
    wait_until(lambda: bool(answers), what="the refusal", seconds=20)
    assert answers[0].startswith("503 server busy")
    stream.close()  # type: ignore[attr-defined]
    for thread in waiting:
        thread.join(timeout=60)
    assert answers[1:] == ["answered"]


def test_copy_shares_blobs_and_delete_spares_them(server: Server) -> None:
    before = server.blobs()
    server.client.copy(EMBED, "mine/embedder:v1")
    assert server.blobs() == before
    (vector,) = server.client.embed("mine/embedder:v1", "a cat").embeddings
    assert list(vector) == list(server.client.embed(EMBED, "a cat").embeddings[0])

    server.client.delete("mine/embedder:v1")

    assert server.blobs() == before
    assert "mine/embedder:v1" not in server.loaded()
    with pytest.raises(ResponseError, match="'mine/embedder:v1' not found") as refused:
        server.client.delete("mine/embedder:v1")
    assert refused.value.status_code == 404


def test_bodies_need_no_content_type(server: Server) -> None:
    answer = httpx.post(f"{server.url}/api/show", content=json.dumps({"name": CHAT}))

    assert answer.status_code == 200
    assert answer.json()["details"]["format"] == "gguf"


def test_stopping_the_server_does_not_wait_for_a_long_answer(server: Server) -> None:
    with serving(server.store) as other:
        next(other.client.chat(CHAT, QUESTION, format=ENDLESS, stream=True))
        runners = children(other.running.pid)
        assert runners
        assert other.running.stop(grace=15) != -signal.SIGKILL
    wait_until(lambda: not any(map(alive, runners)), what="the end of its runners", seconds=10)


def test_wrong_requests_get_a_sentence(server: Server) -> None:
    def refusal(path: str, body: object) -> tuple[int, str]:
        answer = httpx.post(f"{server.url}{path}", json=body, timeout=60)
        return answer.status_code, answer.json()["error"]

    message = {"role": "user", "content": "x"}
    assert refusal("/api/chat", {"model": "nope", "messages": [message]}) == (
        404,
        "model 'nope:latest' not found, try pulling it first",
    )
    assert refusal("/api/chat", {"model": EMBED, "messages": [message]}) == (400, '"all-minilm" does not support chat')
    assert refusal("/api/embed", {"model": CHAT, "input": "x"}) == (400, f'"{CHAT}" does not support embeddings')
    assert refusal("/api/show", {"model": "../../etc/passwd"})[0] == 400
    status, sentence = refusal("/api/chat", {"model": CHAT, "messages": [message], "options": {"temperature": "hot"}})
    assert (status, sentence.split(":")[0]) == (400, "options.temperature")
    status, sentence = refusal("/api/chat", {"model": CHAT, "messages": [message], "format": {"type": "nonsense"}})
    assert (status, sentence.split(":")[0]) == (400, "format")
    assert refusal("/api/push", {"model": CHAT}) == (404, "POST /api/push: not found")


def test_restored_store_serves_reports_damage_and_is_healed_by_a_pull(server: Server, tmp_path: Path) -> None:
    before = server.client.embed(EMBED, "a cat").embeddings[0]
    restored = tmp_path / "restored"
    shutil.copytree(server.store, restored)
    with serving(restored) as other:
        assert {m.digest for m in other.client.list().models} == {m.digest for m in server.client.list().models}
        assert list(other.client.embed(EMBED, "a cat", keep_alive=0).embeddings[0]) == list(before)

        digests = {
            layer["mediaType"].rpartition(".")[2]: layer["digest"].replace(":", "-")
            for name in (f"{EMBED}/latest", "smollm2/135m")
            for layer in json.loads((restored / "manifests/registry.ollama.ai/library" / name).read_text())["layers"]
        }
        weights = restored / "blobs" / digests["onnx"]
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 1
        weights.write_bytes(content)
        with pytest.raises(ResponseError, match=f"{weights.name} does not have its checksum") as damaged:
            other.client.embed(EMBED, "a cat")
        assert damaged.value.status_code == 500

        missing = restored / "blobs" / digests["model"]
        missing.unlink()
        with pytest.raises(ResponseError, match=f"{missing.name} is missing"):
            list(other.client.chat(CHAT, QUESTION, stream=True))
        assert len(other.client.list().models) == 2

        other.client.pull(EMBED)
        assert list(other.client.embed(EMBED, "a cat").embeddings[0]) == list(before)

        runners = children(other.running.pid)
        assert runners
        os.kill(other.running.pid, signal.SIGKILL)
        wait_until(lambda: not any(map(alive, runners)), what="the end of the killed server's children", seconds=10)
