"""What a project's files take as variables: found wherever Compose would put a value in, shown without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from portal.runtime.compose.foreign.description import foreign_spec, source_folder
from portal.runtime.errors import StackFileError
from portal.runtime.foreign import Foreign
from portal.stacks.projects.variables import found_in, given, project_variables
from portal.stacks.variables import HIDDEN, wrong

FILE = """
x-shared: &shared
  environment: {LEVEL: "${LEVEL-info}"}
services:
  web:
    <<: *shared
    image: "shop:${TAG:-1.2}"
    command: ["--at", "${HOST:?where}:$PORT", "costs $$PRICE"]
    environment:
      - DB_PASSWORD
      - FIXED=1
      - URL=${URL:-http://${HOST}/}
  worker:
    image: "shop:${TAG}"
    environment: {DB_PASSWORD: , LD_PRELOAD: "${LD_PRELOAD}"}
secrets:
  key: {environment: SIGNING_KEY}
"""


def found(told: dict[str, str] | None = None) -> dict[str, tuple[str, tuple[str, ...]]]:
    rows = found_in([yaml.compose(FILE, Loader=yaml.SafeLoader)], told or {})
    return {row.name: (row.default, row.services) for row in rows}


def test_every_use_of_a_variable_is_found_with_its_default_and_services() -> None:
    assert found() == {
        "LEVEL": ("info", ("web",)),
        "TAG": ("1.2", ("web", "worker")),
        "HOST": ("", ("web",)),
        "PORT": ("", ("web",)),
        "URL": ("", ("web",)),
        "DB_PASSWORD": ("", ("web", "worker")),
        "SIGNING_KEY": ("", ()),
    }


def test_the_default_is_what_the_project_says_and_no_secret_is_shown() -> None:
    told = found({"TAG": "2.0", "DB_PASSWORD": "marker", "SIGNING_KEY": "marker", "URL": "http://me:marker@db/"})
    assert told["TAG"][0] == "2.0"
    assert told["DB_PASSWORD"][0] == told["SIGNING_KEY"][0] == HIDDEN
    assert told["URL"][0] == f"http://me:{HIDDEN}@db/"


def test_files_of_variables_are_read_as_people_write_them(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("# note\nexport TAG=1\nWORD='a # b'\nSPACED = x y # why\n\nTAG=2\nNOTHING=\nno line\n")
    assert given(tmp_path, ["a"]) == {"TAG": "2", "WORD": "a # b", "SPACED": "x y", "NOTHING": ""}


def test_included_files_count_and_nothing_outside_is_read(tmp_path: Path) -> None:
    source = source_folder(tmp_path)
    source.mkdir()
    (source / "compose.yaml").write_text("include: [more.yaml]\nservices: {web: {image: 'a:${TAG}'}}\n")
    (source / "more.yaml").write_text("services: {more: {image: 'b:${OTHER}'}}\n")
    (source / ".env").write_text("OTHER=3\n")
    spec = foreign_spec("shop", tmp_path, Foreign(("compose.yaml",), (".env",)))
    assert [(row.name, row.default) for row in project_variables(spec)] == [("TAG", ""), ("OTHER", "3")]
    (source / "compose.yaml").write_text("include: [/etc/passwd]\nservices: {}\n")
    with pytest.raises(StackFileError, match="leads out of the project"):
        project_variables(spec)


def test_of_variables_of_others_nothing_more_is_known_than_what_can_be_written() -> None:
    assert wrong("POSTGRES_IMAGE", "postgres", known=False) == ""
    assert wrong("POSTGRES_IMAGE", "postgres") != ""
    assert "line break" in wrong("ANY", "a\nb", known=False)
    assert [row.hint for row in found_in([yaml.compose("services: {a: {image: '${CHAT_MODEL}'}}")], {})] == [""]
