"""`python -m rag_api build-words`: the index of words of a database that is not in use yet, beside the one in use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest

from backups import process
from rag_api.retrieval.lexical import LexicalReader
from tests.support import servers
from tests.support.hash_embedder import hash_embedder
from tests.support.rag_stack import RagStack, rag_stack

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(
    postgres_server: servers.Postgres, valkey_server: servers.Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RagStack]:
    """A stack that serves one document, its ingest process at work."""
    with ExitStack() as kept:
        root = tmp_path_factory.mktemp("words")
        chroma = kept.enter_context(servers.chroma(root / "chroma"))
        embedder = kept.enter_context(hash_embedder())
        rag = kept.enter_context(rag_stack(root / "rag", postgres_server, valkey_server, chroma.url, embedder.url))
        rag.start_ingest()
        servers.wait_until(rag.ingest_ready, what="ingest", seconds=30)
        admin = rag.admin()
        admin.post("/api/documents", files={"file": ("a.txt", b"The heron stood in the reeds.")}).raise_for_status()
        rag.settled(admin)
        yield rag


def build(stack: RagStack, *words: str) -> process.Completed:
    return process.run(
        [sys.executable, "-m", "rag_api", "build-words", *words], env=stack.env, cwd=servers.REPO, check=False
    )


def found(folder: Path, stack: RagStack, word: str) -> set[UUID]:
    bases = [row["id"] for row in stack.query("SELECT id FROM bases")]
    return {chunk for chunk, _ in LexicalReader(folder).search(word, bases, 10)}


def _copied(server: servers.Postgres, database: str, dump: Path) -> str:
    """A copy of a database that is in use."""
    name = server.create_database("staged")
    environment = {"PGPASSWORD": server.password}
    where = ["-h", server.host, "-p", str(server.port), "-U", "rag"]
    process.run([servers.PG_BIN / "pg_dump", *where, "-Fc", "-f", dump, database], env=environment)
    process.run([servers.PG_BIN / "pg_restore", *where, "-d", name, dump], env=environment)
    return name


def test_another_database_is_indexed_beside_the_index_in_use(
    stack: RagStack, postgres_server: servers.Postgres, tmp_path: Path
) -> None:
    live = Path(stack.env["INDEX_DIR"])
    before = found(live, stack, "heron")
    assert before
    staged = _copied(postgres_server, urlsplit(stack.env["POSTGRES_URL"]).path[1:], tmp_path / "dump")
    with psycopg.connect(postgres_server.url(staged), autocommit=True) as connection:
        connection.execute("UPDATE chunks SET text = replace(text, 'heron', 'egret')")
    (live.parent / "staging-x.building-1").mkdir()
    told = build(stack, "--database", staged, "--beside", "staging-x")
    assert (told.returncode, told.stdout) == (0, "The word index holds 1 passages.\n"), told.stderr
    beside = live.parent / "staging-x"
    assert found(beside, stack, "egret") == before
    assert not found(beside, stack, "heron")
    assert found(live, stack, "heron") == before
    assert not found(live, stack, "egret")
    assert sorted(path.name for path in live.parent.iterdir()) == ["live", "staging-x"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--beside", "../live"], "no name of a folder"),
        (["--database", "postgres", "--beside", "staging-y"], "The database postgres holds no passages"),
        (["--database", "nowhere", "--beside", "staging-y"], "The database cannot be reached"),
        ([], "is in use; stop the ingest service"),
    ],
)
def test_what_cannot_be_built_is_said_in_a_sentence(stack: RagStack, words: list[str], said: str) -> None:
    told = build(stack, *words)
    assert told.returncode == 1
    assert said in told.stderr
    assert "Traceback" not in told.stderr
    assert not (Path(stack.env["INDEX_DIR"]).parent / "staging-y").exists()
