"""The small parts of a recovery: command lines, notes, and how a document is followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from backups import restic
from backups.job import PostgresServer
from backups.sources import portal
from config.cli.output import UserError
from config.cli.recovery_notes import NOTES, Notes, demand_finished, read_notes, recovery_folder, write_notes
from portal.runtime.paths import RuntimePaths
from tests.support import document


def test_the_portal_is_dumped_as_of_one_moment_and_without_sessions() -> None:
    server = PostgresServer("127.0.0.1", 20020, "portal", "portal", Path("/secret"))
    assert portal.dump_argv(Path("/pg"), server, "0001-1", Path("/s/database.dump")) == (
        "/pg/pg_dump", "--host=127.0.0.1", "--port=20020", "--username=portal", "--no-password", "--dbname=portal",
        "--snapshot=0001-1", "--format=custom", "--compress=0", "--file=/s/database.dump",
        "--exclude-table-data=django_session",
    )  # fmt: skip


def test_keys_are_listed_without_a_lock() -> None:
    assert restic.keys_argv(Path("/r")) == ("/r", "--json", "--retry-lock", "2m", "--no-lock", "key", "list")


def test_an_unfinished_recovery_is_known_until_its_notes_are_gone(tmp_path: Path) -> None:
    paths = RuntimePaths(tmp_path)
    folder = recovery_folder(paths)
    assert read_notes(folder) is None
    demand_finished(paths)
    folder.mkdir()
    notes = Notes("id", "20260131T000000Z-aaaaaa", done=["fetched"])
    write_notes(folder, notes)
    assert read_notes(folder) == notes
    with pytest.raises(UserError, match="not finished") as refused:
        demand_finished(paths)
    assert "manage.py recover" in refused.value.remedy
    (folder / NOTES).write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        read_notes(folder)


def test_a_document_is_followed_only_when_its_table_names_every_placeholder(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    table = "| `<key-file>` | the key |\n\n"
    block = "1. Do\n\n   ```\n   cat <key-file>\n     | wc\n   ```\n\n```json\n{}\n```\n"
    page.write_text(table + block)
    assert document.shell_blocks(page) == ["cat <key-file>\n  | wc\n"]
    assert document.script(page, {"<key-file>": "/k"}) == "set -euo pipefail\ncat /k\n  | wc\n"
    with pytest.raises(AssertionError):
        document.script(page, {})
    page.write_text(table + block + "```\nls <folder>\n```\n")
    with pytest.raises(AssertionError, match="<folder>"):
        document.script(page, {"<key-file>": "/k", "<folder>": "/f"})
