"""What leads out of a project's folder is found before Compose reads it, with its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.runtime.compose.foreign.scan import demand_readable
from portal.runtime.errors import StackFileError

HEAD = "services:\n  web:\n    image: a\n"

TRICKS = {
    "env_file above": (HEAD + "    env_file: ../secret\n", 4),
    "env_file absolute": (HEAD + "    env_file: /etc/shadow\n", 4),
    "env_file of home": (HEAD + "    env_file: ~/.netrc\n", 4),
    "env_file in a list": (HEAD + "    env_file:\n      - inside.env\n      - ../secret\n", 6),
    "env_file with a path": (HEAD + "    env_file:\n      - path: ../secret\n        required: false\n", 5),
    "env_file by a link": (HEAD + "    env_file: link\n", 4),
    "env_file below a link": (HEAD + "    env_file: folderlink/secret\n", 4),
    "env_file by a variable": (HEAD + "    env_file: ${WHERE}\n", 4),
    "env_file by a merge": ("x-a: &a\n  env_file: ../secret\n" + HEAD + "    <<: *a\n", 2),
    "env_file by merges": ("x-a: &a\n  env_file: ../secret\n" + HEAD + "    <<: [*a]\n", 2),
    "env_file quoted": (HEAD + '    "env_file": ["../secret"]\n', 4),
    "env_file in a second document": (HEAD + "---\n" + HEAD + "    env_file: ../secret\n", 8),
    "env_file given twice": (HEAD + "    env_file: inside.env\n    env_file: ../secret\n", 5),
    "env_file of extended": (HEAD + "    extends: {file: below/extended.yaml, service: web}\n", 4),
    "label_file": (HEAD + "    label_file: ../secret\n", 4),
    "extends": (HEAD + "    extends:\n      file: ../other.yaml\n      service: a\n", 5),
    "extends by a link": (HEAD + "    extends: {file: link, service: a}\n", 4),
    "include": ("include:\n  - ../other.yaml\n" + HEAD, 2),
    "include remote": ("include:\n  - https://example.org/a.yaml\n" + HEAD, 2),
    "include from git": ("include:\n  - github.com/some/body\n" + HEAD, 2),
    "include by ssh": ("include: ['git@example.org:a/b.git']\n" + HEAD, 1),
    "include path in a list": ("include:\n  - path: [inside.yaml, ../other.yaml]\n" + HEAD, 2),
    "include elsewhere": ("include:\n  - path: inside.yaml\n    project_directory: ..\n" + HEAD, 3),
    "include env_file": ("include:\n  - path: inside.yaml\n    env_file: ../secret\n" + HEAD, 3),
    "config file": (HEAD + "configs:\n  a:\n    file: ../secret\n", 6),
    "secret file": (HEAD + "secrets:\n  a: {file: /etc/shadow}\n", 5),
    "build": (HEAD + "    build: ..\n", 4),
    "build context": (HEAD + "    build:\n      context: ../..\n", 5),
    "build from git": (HEAD + "    build: https://example.org/a.git#main\n", 4),
    "build recipe": (HEAD + "    build:\n      context: .\n      dockerfile: ../secret\n", 6),
    "build further context": (HEAD + "    build:\n      context: .\n      additional_contexts: [a=../x]\n", 6),
    "build further contexts": (HEAD + "    build:\n      context: .\n      additional_contexts:\n        a: /etc\n", 7),
    "build ssh": (HEAD + "    build:\n      context: .\n      ssh: [default]\n", 6),
    "build cache": (HEAD + "    build:\n      context: .\n      cache_to: ['type=local,dest=/etc']\n", 6),
    "credentials": (HEAD + "    credential_spec: {file: ../secret}\n", 4),
    "provider": (HEAD + "    provider: {type: some-program}\n", 4),
    "no yaml": (HEAD + "    ports: [\n", 5),
    "no mapping": ("- a\n", 1),
    "not there": (HEAD + "    env_file: nowhere.env\n", 4),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project's folder, with a secret beside it."""
    folder = tmp_path / "project"
    (folder / "below").mkdir(parents=True)
    (tmp_path / "secret").write_text("PASSWORD=marker\n")
    (tmp_path / "other.yaml").write_text(HEAD)
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "folderlink").symlink_to(tmp_path)
    (folder / "inside.env").write_text("A=1\n")
    (folder / "inside.yaml").write_text("services: {other: {image: b}}\n")
    (folder / "below" / "extended.yaml").write_text(HEAD + "    env_file: ../../secret\n")
    return folder


@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_is_refused_at_its_place(root: Path, trick: str) -> None:
    text, line = TRICKS[trick]
    (root / "compose.yaml").write_text(text)
    with pytest.raises(StackFileError) as refused:
        demand_readable(root, ["compose.yaml"])
    file = "below/extended.yaml" if "extended" in trick else "compose.yaml"
    assert refused.value.path.startswith(f"{file}:{line}"), refused.value.message
    assert "marker" not in refused.value.message


GOOD = """
include:
  - inside.yaml
  - {path: [below/more.yaml], env_file: inside.env}
services:
  web:
    build: {context: ./below, dockerfile: Dockerfile, additional_contexts: {base: "docker-image://a"}}
    env_file: [inside.env, {path: gone.env, required: false}]
    extends: {file: below/common.yaml, service: base}
    volumes: ["/etc:/etc", "../other:/other"]
configs: {a: {file: ./inside.env}, b: {file: "${ANYWHERE}"}}
"""


def test_what_stays_inside_is_allowed(root: Path) -> None:
    (root / "compose.yaml").write_text(GOOD)
    (root / "below" / "more.yaml").write_text("services: {more: {image: c, env_file: ../inside.env}}\n")
    (root / "below" / "common.yaml").write_text("services: {base: {image: c}}\n")
    demand_readable(root, ["compose.yaml", "inside.yaml"], [".env"])


@pytest.mark.parametrize("name", ["LD_PRELOAD", "DOCKER_HOST", "PATH", "BUILDKIT_HOST", "GIT_SSH_COMMAND"])
def test_variables_of_the_programs_themselves_are_refused(root: Path, name: str) -> None:
    (root / "compose.yaml").write_text(HEAD)
    (root / ".env").write_text(f"A=1\nexport {name}=x\n")
    with pytest.raises(StackFileError, match=rf"\.env:2: {name} is for"):
        demand_readable(root, ["compose.yaml"], [".env"])


def test_a_file_of_variables_that_is_a_link_is_refused(root: Path) -> None:
    (root / "compose.yaml").write_text(HEAD)
    (root / ".env").symlink_to(root.parent / "secret")
    with pytest.raises(StackFileError, match=r"\.env: leads out"):
        demand_readable(root, ["compose.yaml"], [".env"])


def test_files_that_include_each_other_come_to_an_end(root: Path) -> None:
    (root / "compose.yaml").write_text("include: [inside.yaml]\n" + HEAD)
    (root / "inside.yaml").write_text("include: [compose.yaml]\n")
    demand_readable(root, ["compose.yaml"])


def test_a_pipe_is_no_file(root: Path) -> None:
    import os

    os.mkfifo(root / "pipe")
    (root / "compose.yaml").write_text(HEAD + "    env_file: pipe\n")
    with pytest.raises(StackFileError, match="expected a file"):
        demand_readable(root, ["compose.yaml"])
