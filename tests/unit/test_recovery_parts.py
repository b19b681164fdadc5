"""The small parts of a recovery: command lines, notes, and how a document is followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from backups import restic
from backups.__main__ import parser
from backups.access import OPTIONS, Access
from backups.job import PostgresServer
from backups.secret import Secret
from backups.sources import portal
from config.cli import prove_key, recover, repositories
from config.cli.given import access_of
from config.cli.output import UserError
from config.cli.recovery_notes import NOTES, Notes, demand_finished, read_notes, recovery_folder, write_notes
from config.cli.recovery_place import Asked
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


def test_a_recovery_takes_every_option_that_reaches_a_repository() -> None:
    flags = {option.flag for option in OPTIONS}
    assert {"--credentials-file", "--key-file", "--host-key", "--ca-file", "--region"} <= flags
    for verb in (repositories.add_command, repositories.change_command, recover.command, prove_key.command):
        assert flags <= {word for parameter in verb.params for word in parameter.opts}
    (commands,) = (action.choices for action in parser()._actions if isinstance(action.choices, dict))
    for name in ("list", "verify", "restore"):
        assert flags <= {word for action in commands[name]._actions for word in action.option_strings}


def test_standard_input_is_one_file_only(tmp_path: Path) -> None:
    given = {"password_file": Path("-"), "key_file": Path("-"), "credentials_file": None, "ca_file": None}
    with pytest.raises(UserError, match="only one of the files"):
        access_of({**given, "host_key": None, "region": None})


def test_every_file_that_cannot_be_read_is_named_at_once(tmp_path: Path) -> None:
    given = {"password_file": tmp_path / "key", "key_file": tmp_path / "id", "ca_file": tmp_path}
    with pytest.raises(UserError, match=r"/key \(no such file or directory\), .*/id .*is a directory") as refused:
        Asked.read("/r", given)
    assert "install -o" in refused.value.remedy


def test_a_key_file_that_is_empty_is_said(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\n")
    none = dict.fromkeys(("credentials_file", "key_file", "ca_file", "host_key", "region"))
    with pytest.raises(UserError, match="is empty"):
        Asked.read("/r", {**none, "password_file": tmp_path / "key"})


def test_secrets_stay_out_of_what_is_printed() -> None:
    access = Access(credentials={"AWS_SECRET_ACCESS_KEY": "hidden"}, private_key="hidden")
    assert "hidden" not in repr(Asked("/r", Secret("hidden"), access))


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
