"""Names of images and the tags that follow one another."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from portal.runtime.compose.client import Docker
from portal.runtime.compose.registry import Login, Reference, login_of
from portal.stacks.updates.lines import newest_of_line


@pytest.mark.parametrize(
    ("name", "host", "path", "tag"),
    [
        ("postgres:18.4", "docker.io", "library/postgres", "18.4"),
        ("chromadb/chroma:1.5.9", "docker.io", "chromadb/chroma", "1.5.9"),
        ("registry.example.org/a/b:2", "registry.example.org", "a/b", "2"),
        ("127.0.0.1:5000/tiny", "127.0.0.1:5000", "tiny", "latest"),
        ("localhost/tiny:1", "localhost", "tiny", "1"),
        (f"[::1]:5000/tiny:1@sha256:{'a' * 64}", "[::1]:5000", "tiny", "1"),
        (f"postgres@sha256:{'a' * 64}", "docker.io", "library/postgres", "latest"),
    ],
)
def test_a_name_is_taken_apart_as_docker_does(name: str, host: str, path: str, tag: str) -> None:
    assert Reference.parse(name) == Reference(host, path, tag)


@pytest.mark.parametrize(
    ("tag", "tags", "newest"),
    [
        ("18.4", ["18.5", "18.10", "19.1", "18", "18.3", "18.11-alpine", "18.11rc1"], "18.10"),
        ("8.2.3-alpine", ["8.2.4", "8.4.0-alpine", "9.0.0-alpine", "8.2.3-alpine"], "8.4.0-alpine"),
        ("0.12.11", ["0.13.0", "0.12.12", "1.0.0"], "0.12.12"),
        ("v1.2.3", ["1.3.0", "v1.2.9", "v1.2.10"], "v1.2.10"),
        ("1.5.9", ["1.5.9", "1.5.8", "latest", "1.6"], ""),
        ("8", ["9", "8.1", "10"], ""),
        ("latest", ["1.0.0"], ""),
        ("1.2.3", ["1.2.4-rc1", "1.2.9999999999999"], ""),
    ],
)
def test_only_what_is_higher_in_the_same_line_follows(tag: str, tags: list[str], newest: str) -> None:
    assert newest_of_line(tag, tags) == newest


def test_a_login_is_found_under_the_names_that_docker_gives_it(tmp_path: Path) -> None:
    secret = base64.b64encode(b"reader:pass:word").decode()
    auths = {"https://index.docker.io/v1/": {"auth": secret}, "registry.example.org": {"auth": secret}, "kept.org": {}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
    docker = Docker("unix:///nowhere", tmp_path)
    assert login_of(docker, "docker.io") == Login("reader", "pass:word")
    assert login_of(docker, "registry.example.org") == Login("reader", "pass:word")
    assert login_of(docker, "kept.org") is None
    assert login_of(docker, "elsewhere.org") is None
    assert login_of(Docker("unix:///nowhere", tmp_path / "none"), "docker.io") is None
    assert "pass:word" not in repr(login_of(docker, "docker.io"))


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"DOCKER_CONFIG": "/given", "RAGKEEP_RUNTIME": "compose", "RAGKEEP_VAR": "/var/x"}, Path("/given")),
        ({"RAGKEEP_RUNTIME": "compose", "RAGKEEP_VAR": "/var/x"}, Path("/var/x/control/docker")),
        ({"RAGKEEP_VAR": "/var/x"}, Path.home() / ".docker"),
        ({}, Path.home() / ".docker"),
    ],
)
def test_the_portal_in_containers_keeps_logins_where_they_outlive_it(environ: dict[str, str], folder: Path) -> None:
    assert Docker.discover(environ).config == folder
