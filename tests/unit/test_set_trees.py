"""The tree of a set and the names its files get: whatever somebody called a document, nothing leads out of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backups import fetch, trees
from backups.manifest import Extra, FileEntry, Manifest
from backups.trees import Entry, Tree

NOW = datetime(2026, 1, 31, tzinfo=UTC)
HASHES = ["a" * 64, "b" * 64, "c" * 64]
ODD = ["a\nb.txt", 'say "hi".txt', "naïve Ünicode 文書.pdf", "100%_sure.txt", "-rf", "CON:aux?.txt", " . "]


def manifest(*entries: FileEntry, **roots: str) -> Manifest:
    return Manifest(
        set_id="20260131T000000Z-aaaaaa", operation="x", state="complete", stack="rag", environment="test",
        host="rag-test", taken_at=NOW, freeze_ms=1.0, versions={}, counts={},
        collections=(), models=(), sources={}, roots={"documents": "/v/documents/live", "models": "/v/m", **roots},
        files=entries, canary=(),
    )  # fmt: skip


def document(sha256: str, size: int = 5) -> FileEntry:
    return FileEntry("documents", f"{sha256[:2]}/{sha256}", size, sha256)


def tree(folder: Path, found: list[Entry]) -> Tree:
    trees.write(folder / "tree.sqlite3", found)
    return Tree(folder / "tree.sqlite3")


def named(*names: dict[str, Any]) -> list[str]:
    made = manifest(*map(document, HASHES))
    return ["/".join(entry.path) for entry in trees.entries(made, names) if entry.path[0] == "documents"]


def test_documents_lie_under_base_and_path_others_under_their_checksum() -> None:
    found = named({"name": "report.pdf", "path": "2025/report.pdf", "base": "Team", "sha256": HASHES[0]})
    assert found == ["documents/Team/2025/report.pdf", f"documents/bb/{HASHES[1]}", f"documents/cc/{HASHES[2]}"]


def test_a_document_that_is_being_read_again_has_both_contents() -> None:
    row = {"name": "r.pdf", "path": "r.pdf", "base": "Team", "sha256": HASHES[1], "live_sha256": HASHES[0]}
    assert named(row)[:2] == ["documents/Team/r.pdf", "documents/Team/r (being read).pdf"]


def test_documents_that_the_set_does_not_hold_are_left_out() -> None:
    assert len(named({"name": "gone.pdf", "sha256": "d" * 64})) == 3


def test_the_portals_own_secrets_are_not_offered() -> None:
    files = [
        FileEntry(name, f"extra/{name}/{file}", 5, HASHES[0])
        for name in ("portal", "shop")
        for file in ("s/key", "dump")
    ]
    extra = [Extra(name, kind, NOW, True, {}) for name, kind in (("portal", "portal"), ("shop", "postgres"))]
    found = trees.entries(replace(manifest(*files), extra=tuple(extra)), [])
    assert ["/".join(entry.path) for entry in found] == ["set.json", "extra/shop/s/key", "extra/shop/dump"]


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a/../../b", "./..//../x", "..", "\0", "/" * 50])
def test_no_name_leads_anywhere_else(path: str) -> None:
    for word in trees.segments(path):
        assert word not in ("", ".", "..")
        assert "/" not in word
    assert ".." not in named({"name": path, "sha256": HASHES[0]})[0].split("/")


def test_a_path_without_end_is_cut_in_depth(tmp_path: Path) -> None:
    with tree(tmp_path, [Entry(trees.segments("d/" * 3000 + "x"), "/s", 1)]) as made:
        assert made.search("x", made.node("/") or pytest.fail("no root"))


def test_folders_come_first_and_count_what_is_below(tmp_path: Path) -> None:
    found = [Entry(("b", "x"), "/s/1", 3), Entry(("b", "c", "y"), "/s/2", 4), Entry(("A.txt",), "/s/3", 5)]
    with tree(tmp_path, found) as made:
        root = made.node("/")
        assert root is not None
        assert (root.files, root.bytes, made.count(root)) == (3, 12, 2)
        assert [(node.name, node.is_folder, node.bytes) for node in made.children(root)] == [
            ("b", True, 7), ("A.txt", False, 5),
        ]  # fmt: skip
        deep = made.node("/b/c/y")
        assert deep is not None
        assert deep.parents == [("", "/"), ("b", "/b"), ("c", "/b/c")]
        assert [node.path for node in made.files(made.node("/b") or root)] == ["/b/c/y", "/b/x"]
        assert made.bytes_below("/s") == 12


def test_the_same_name_twice_and_a_file_where_a_folder_is(tmp_path: Path) -> None:
    found = [Entry(("r.pdf",), f"/s/{n}", 1) for n in range(3)] + [Entry(("r.pdf", "inside"), "/s/4", 1)]
    with tree(tmp_path, found) as made:
        paths = {node.path for node in made.files(made.node("/") or pytest.fail("no root"))}
    assert paths == {"/r.pdf", "/r (2).pdf", "/r (3).pdf", "/r.pdf (2)/inside"}


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_found_and_opened_as_they_are(tmp_path: Path, name: str) -> None:
    with tree(tmp_path, [Entry(("documents", name), "/s/1", 1), Entry(("documents", "other"), "/s/2", 1)]) as made:
        root = made.node("/")
        assert root is not None
        assert [node.name for node in made.search(name.upper(), root)] == [name]
        assert made.node(f"/documents/{name}") is not None


def test_a_search_takes_its_words_literally(tmp_path: Path) -> None:
    with tree(
        tmp_path, [Entry(("100%.txt",), "/1", 1), Entry(("1000.txt",), "/2", 1), Entry(("a_b",), "/3", 1)]
    ) as made:
        root = made.node("/") or pytest.fail("no root")
        assert [node.name for node in made.search("0%", root)] == ["100%.txt"]
        assert [node.name for node in made.search("_", root)] == ["a_b"]


def test_a_tree_of_another_version_is_none(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("no database")
    for file in (tmp_path / "t", tmp_path / "missing"):
        with pytest.raises(FileNotFoundError):
            Tree(file)


def test_names_in_an_archive_can_be_unpacked_anywhere(tmp_path: Path) -> None:
    names = [*ODD, "a\\..\\b", "same?", "same*"]
    with tree(tmp_path, [Entry(("documents", name), f"/s/{n}", 1) for n, name in enumerate(names)]) as made:
        folder = made.node("/documents")
        assert folder is not None
        wanted = [one.name for one in fetch.archive_names(folder, made.files(folder))]
    assert len({name.casefold() for name in wanted}) == len(names)
    for name in wanted:
        assert name.startswith("documents/")
        assert not set(name) & set('\n\\:*?"<>|')
        assert name.count("/") == 1
        assert not name.endswith((" ", "."))


def test_few_files_of_many_are_read_one_by_one_and_most_of_them_together() -> None:
    def wanted(count: int) -> list[fetch.Wanted]:
        return [
            fetch.Wanted(str(n), trees.Node(n, n, f"/{n}", str(n), False, 1, 1000, "", f"/v/live/{n:02}/x"))
            for n in range(count)
        ]

    def total(_folder: str) -> int:
        return 10 << 30

    assert [batch.folder for batch in fetch.batches(wanted(3), total)] == [""]
    assert [batch.folder for batch in fetch.batches(wanted(300), total)] == ["/v/live"]
    assert fetch.batches(wanted(1), lambda _: 1000)[0].folder == ""


def test_the_commands_take_no_lock() -> None:
    tool = Path("/opt/restic")
    assert fetch.file_argv(tool, "abc", "/set/-x\n") == (
        "/opt/restic", "--quiet", "--no-lock", "dump", "abc", "/set/-x\n",
    )  # fmt: skip
    assert fetch.archive_argv(tool, "abc", "/set") == (
        "/opt/restic", "--quiet", "--no-lock", "dump", "--archive", "tar", "abc", "/set",
    )  # fmt: skip
