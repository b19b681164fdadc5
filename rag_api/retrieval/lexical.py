"""The BM25 index: one writing process, any number of reading ones, in one folder that can be rebuilt at any time."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import tantivy

from rag_api.retrieval.fusion import rarity

_HEAP_BYTES = 32 * 1024 * 1024
_TERMS = 64
_ANALYZER = "ragkeep"


def _analyzer() -> tantivy.TextAnalyzer:
    # Stemming is English; words of other languages pass through nearly untouched, on both sides alike.
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(60))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.ascii_fold())
        .filter(tantivy.Filter.stemmer("english"))
        .build()
    )


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    for name in ("chunk", "document", "base"):
        builder.add_text_field(name, stored=name == "chunk", tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field("generation", indexed=True)
    builder.add_text_field("text", tokenizer_name=_ANALYZER, index_option="freq")
    return builder.build()


class LexicalWriter:
    """The only writer of an index; the lock is the kernel's and falls with the process.

    What is added or deleted is searched from the next `commit` on. Safe to use from several threads.
    """

    def __init__(self, folder: Path) -> None:
        """Open the index, or begin an empty one when there is none or it cannot be read.

        Raises:
            ValueError: another process is writing to it.
        """
        self._folder = folder
        self._lock = threading.RLock()
        self._open()

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._index = _index(self._folder)
        except (ValueError, OSError):
            # Of another version or damaged. It is derived: the ingest worker refills it from Postgres.
            _empty(self._folder)
            self._index = _index(self._folder)
        self._writer = self._index.writer(heap_size=_HEAP_BYTES, num_threads=1)

    def add(self, document_id: UUID, generation: int, base_id: UUID, chunks: Iterable[tuple[UUID, str]]) -> None:
        """Index the chunks (id, text) of one generation of a document, instead of any it had there before."""
        with self._lock:
            self.delete(document_id, generation)
            for chunk_id, text in chunks:
                document = tantivy.Document()
                document.add_text("chunk", str(chunk_id))
                document.add_text("document", str(document_id))
                document.add_text("base", str(base_id))
                document.add_unsigned("generation", generation)
                document.add_text("text", text)
                self._writer.add_document(document)

    def delete(self, document_id: UUID, generation: int | None = None) -> None:
        """Remove the chunks of a document, of one generation or of all."""
        schema = self._index.schema
        query = tantivy.Query.term_query(schema, "document", str(document_id), "basic")
        if generation is not None:
            own = tantivy.Query.term_query(schema, "generation", generation)
            query = tantivy.Query.boolean_query([(tantivy.Occur.Must, query), (tantivy.Occur.Must, own)])
        with self._lock:
            self._writer.delete_documents_by_query(query)

    def commit(self) -> None:
        """Make everything since the last commit durable and visible to readers.

        Raises:
            ValueError, OSError: nothing of it is visible. When the folder was emptied under the writer it has begun
                an empty index by then, so doing the same again succeeds.
        """
        with self._lock:
            if not (self._folder / "meta.json").exists():
                self.close()
                self._open()
                raise FileNotFoundError(f"{self._folder} was emptied; begun again with an empty index")
            self._writer.commit()

    def ids(self) -> set[UUID]:
        """Every chunk id in the last commit."""
        with self._lock:
            self._index.reload()
            searcher = self._index.searcher()
        if not searcher.num_docs:
            return set()
        hits = searcher.search(tantivy.Query.all_query(), limit=searcher.num_docs, count=False).hits
        return {UUID(searcher.doc(address)["chunk"][0]) for _, address in hits}

    def clear(self) -> None:
        """Remove every chunk and commit."""
        with self._lock:
            self._writer.delete_all_documents()
            self._writer.commit()

    def close(self) -> None:
        """Drop what was not committed and let go of the lock."""
        with self._lock, suppress(AttributeError):
            del self._writer


class LexicalReader:
    """Searches an index that another process writes; safe to use from several threads.

    The folder may be missing or be emptied at any time (a restore does so): then nothing is found until the writer
    has committed again.
    """

    def __init__(self, folder: Path) -> None:
        self._meta = folder / "meta.json"
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._index: tantivy.Index | None = None

    def search(self, question: str, base_ids: Sequence[UUID], k: int) -> list[tuple[UUID, float]]:
        """The `k` chunks of these bases with the highest BM25 score, best first; any text is a question, none raises.

        Returns:
            (chunk id, BM25 score above 0) pairs.
        """
        words = terms(question)
        index = self._current()
        if index is None or not words or not base_ids:
            return []
        searcher = index.searcher()
        hits = searcher.search(_query(index.schema, words, base_ids), limit=k, count=False).hits
        return [(UUID(searcher.doc(address)["chunk"][0]), score) for score, address in hits]

    def weights(self, question: str) -> dict[str, float]:
        """How rare each term of a question is in the whole index (BM25's inverse document frequency)."""
        index = self._current()
        if index is None:
            return dict.fromkeys(terms(question), 1.0)
        searcher = index.searcher()
        return {word: rarity(searcher.doc_freq("text", word), searcher.num_docs) for word in terms(question)}

    def _current(self) -> tantivy.Index | None:
        """The index as of the last commit, opened again after every one: the folder may hold another one by now."""
        with self._lock:
            try:
                stat = self._meta.stat()
            except OSError:
                self._seen = self._index = None
                return None
            version = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if version != self._seen:
                # When the writer removes a segment while we open it, the older state serves until the next search.
                with suppress(ValueError, OSError):
                    self._index = _opened(self._meta.parent)
                    self._seen = version
            return self._index


def terms(text: str, limit: int | None = _TERMS) -> list[str]:
    """The distinct index terms of a text in order, the first 64 unless told otherwise."""
    return list(dict.fromkeys(_QUESTIONS.analyze(text)))[:limit]


_QUESTIONS = _analyzer()


def _query(schema: tantivy.Schema, words: Sequence[str], base_ids: Sequence[UUID]) -> tantivy.Query:
    # Built from terms, never parsed, so that no character of a question is syntax.
    asked = [(tantivy.Occur.Should, tantivy.Query.term_query(schema, "text", word, "freq")) for word in words]
    allowed = tantivy.Query.term_set_query(schema, "base", [str(base_id) for base_id in base_ids])
    return tantivy.Query.boolean_query(
        [
            (tantivy.Occur.Must, tantivy.Query.boolean_query(asked)),
            (tantivy.Occur.Must, tantivy.Query.const_score_query(allowed, 0.0)),
        ]
    )


def _index(folder: Path) -> tantivy.Index:
    index = tantivy.Index(_schema(), path=str(folder), reuse=True)
    index.register_tokenizer(_ANALYZER, _analyzer())
    return index


def _opened(folder: Path) -> tantivy.Index:
    """The index that is there; unlike `_index` it never makes one, which is the writer's alone to do."""
    index = tantivy.Index.open(str(folder))
    index.register_tokenizer(_ANALYZER, _analyzer())
    return index


def _empty(folder: Path) -> None:
    for item in folder.iterdir():
        shutil.rmtree(item) if item.is_dir() else item.unlink()
