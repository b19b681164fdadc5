"""The BM25 index on disk: commits, deletes, bases, odd questions, and a folder that is emptied."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_api.retrieval.lexical import LexicalReader, LexicalWriter

pytestmark = pytest.mark.integration

BASE, OTHER = uuid4(), uuid4()
DOCUMENT = uuid4()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "index" / "live"


@pytest.fixture
def writer(folder: Path) -> Iterator[LexicalWriter]:
    opened = LexicalWriter(folder)
    yield opened
    opened.close()


def found(reader: LexicalReader, question: str, *bases: UUID) -> list[UUID]:
    return [chunk for chunk, score in reader.search(question, bases or [BASE], 10) if score > 0]


def test_a_reader_sees_commits_and_nothing_else(folder: Path) -> None:
    reader = LexicalReader(folder)
    assert found(reader, "granite") == []
    writer, chunk = LexicalWriter(folder), uuid4()
    writer.add(DOCUMENT, 1, BASE, [(chunk, "Granite is hard."), (uuid4(), "Basalt is dark.")])
    assert found(reader, "granite") == []
    writer.commit()
    assert found(reader, "GRANITES!") == [chunk]
    assert found(reader, "granite", OTHER) == []
    writer.close()


def test_the_best_comes_first_and_k_limits(folder: Path, writer: LexicalWriter) -> None:
    once, twice = uuid4(), uuid4()
    writer.add(DOCUMENT, 1, BASE, [(once, "pump and some other long words"), (twice, "pump the pump")])
    writer.commit()
    reader = LexicalReader(folder)
    assert found(reader, "pump") == [twice, once]
    assert len(reader.search("pump", [BASE], 1)) == 1


def test_a_generation_replaces_itself_and_can_be_deleted_alone(folder: Path, writer: LexicalWriter) -> None:
    old, new = uuid4(), uuid4()
    writer.add(DOCUMENT, 1, BASE, [(old, "granite")])
    writer.commit()
    writer.add(DOCUMENT, 1, BASE, [(old, "granite")])
    writer.add(DOCUMENT, 2, BASE, [(new, "granite")])
    writer.commit()
    assert writer.ids() == {old, new}
    assert len(found(LexicalReader(folder), "granite")) == 2
    writer.delete(DOCUMENT, 1)
    writer.commit()
    assert writer.ids() == {new}
    writer.delete(DOCUMENT)
    writer.commit()
    assert writer.ids() == set()
    assert found(LexicalReader(folder), "granite") == []


def test_what_was_not_committed_is_gone_with_its_writer(folder: Path, writer: LexicalWriter) -> None:
    with pytest.raises(ValueError, match="LockBusy"):
        LexicalWriter(folder)
    kept = uuid4()
    writer.add(DOCUMENT, 1, BASE, [(kept, "granite")])
    writer.commit()
    writer.add(uuid4(), 1, BASE, [(uuid4(), "granite")])
    writer.close()
    again = LexicalWriter(folder)
    assert again.ids() == {kept}
    again.clear()
    assert again.ids() == set()
    again.close()


def test_emptying_the_folder_empties_the_answers_until_it_is_filled_again(folder: Path) -> None:
    writer, reader, chunk = LexicalWriter(folder), LexicalReader(folder), uuid4()
    writer.add(DOCUMENT, 1, BASE, [(chunk, "granite")])
    writer.commit()
    assert found(reader, "granite") == [chunk]
    shutil.rmtree(folder)
    assert found(reader, "granite") == []
    with pytest.raises(FileNotFoundError, match="emptied"):
        writer.commit()
    writer.add(DOCUMENT, 1, BASE, [(chunk, "granite again")])
    writer.commit()
    assert found(reader, "again") == [chunk]
    writer.close()


def test_a_damaged_index_is_begun_again(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text("{not json")
    assert found(LexicalReader(folder), "granite") == []
    writer = LexicalWriter(folder)
    assert writer.ids() == set()
    writer.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> LexicalReader:
    folder = tmp_path_factory.mktemp("filled")
    writer = LexicalWriter(folder)
    writer.add(DOCUMENT, 1, BASE, [(uuid4(), "granite AND basalt")])
    writer.commit()
    writer.close()
    return LexicalReader(folder)


@given(question=st.text(max_size=60) | st.sampled_from(['"', "a:b^3 AND (", "-granite", "text:[a TO", "*", "?" * 999]))
def test_no_question_is_syntax(filled: LexicalReader, question: str) -> None:
    assert len(found(filled, question + " granite")) == 1
    filled.search(question, [BASE], 3)
