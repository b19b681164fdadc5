"""Undocumented means failing: what the program offers is in the documentation, and what that names exists."""

from __future__ import annotations

import ast
import functools
import importlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import pytest
import yaml
from fastapi.routing import APIRoute

from backups.job import KINDS
from config.tiers import TIERS
from config.verbs import VERBS
from rag_api.app import create_app
from rag_api.secret import Secret
from rag_api.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
PRODUCT = ("manage.py", "config", "portal", "backups", "rag_api", "frontend")
STACK_FILES = (*(f"compose/{path.name}" for path in (ROOT / "compose").glob("*.yaml")), "portal/runtime/control.yaml")

VARIABLE = re.compile(r"[A-Z][A-Z0-9_]+")
# How the sources read their environment: os.environ, a mapping of that name, or one of the readers that take a name.
READERS = {"environ", "getenv", "environment", "read_secret", "_port"}

LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)|<img[^>]+src=\"([^\"]+)\"|srcset=\"([^\"]+)\"")
HEADING = re.compile(r"(?m)^#+ (.+)$")
HOST = re.compile(r"\b(?:[a-z0-9-]+\.)+(?:com|org|net|io|dev|ai|co|app|cloud)\b", re.IGNORECASE)
# What may be linked, and names that are examples by their standard.
HOSTS = {"restic.net", "docs.ollama.com", "github.com", "docker.io"}  # the last is a package of Debian
ABSOLUTE = re.compile(r"(?<![\w.<>:/$}~*-])/(\w[\w.-]*)")
ROOTS = {
    # of a Linux machine, and of a container's inside
    "backup", "bin", "data", "dev", "etc", "home", "mnt", "opt", "proc", "rescue", "root", "run", "safe", "sbin", "set",
    "srv", "tmp", "usr",
    # of URLs
    "api", "health", "idle", "internal", "nginx-health", "portal", "ready", "v1",
}  # fmt: skip


@functools.cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def reference(name: str) -> str:
    return text_of(REFERENCE / name)


def section(page: str, title: str) -> str:
    """The part of a page under a heading, up to the next of its level."""
    found = re.search(rf"(?ms)^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page)
    return found[1] if found else ""


def parameters(command: click.Command) -> list[click.Parameter]:
    """Of a verb and of all its subcommands."""
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return [*command.params, *(parameter for found in below for parameter in parameters(found))]


def subcommands(command: click.Command) -> list[str]:
    return list(command.commands) if isinstance(command, click.Group) else []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_each_of_its_options_is_in_the_reference(verb: str) -> None:
    command: click.Command = importlib.import_module(VERBS[verb].module).command
    written = section(reference("commands.md"), f"`{verb}`")
    assert written, f"commands.md has no section `{verb}`"
    options = [
        name for parameter in parameters(command) if isinstance(parameter, click.Option) for name in parameter.opts
    ]
    assert [name for name in options if not re.search(rf"`{name}[ `]", written)] == []
    assert [name for name in subcommands(command) if f"`{name}" not in written] == []
    assert f"manage.py {verb}" in written, "an example is missing"


def test_the_reference_has_no_option_that_no_verb_takes() -> None:
    page = reference("commands.md")
    for verb in VERBS:
        command: click.Command = importlib.import_module(VERBS[verb].module).command
        known = {name for parameter in parameters(command) for name in parameter.opts} | {"--help", "-h"}
        table = re.findall(r"(?m)^\| `(--?[a-z-]+)", section(page, f"`{verb}`"))
        assert set(table) <= known, verb


def test_every_tier_of_the_tests_is_in_the_reference() -> None:
    assert [tier.name for tier in TIERS if f"`{tier.name}`" not in section(reference("commands.md"), "`test`")] == []


def test_every_command_of_the_rescue_program_is_in_the_reference() -> None:
    from backups.__main__ import parser

    (commands,) = (action.choices for action in parser()._actions if isinstance(action.choices, dict))
    assert [name for name in commands if f"`{name}`" not in reference("commands.md")] == []


def test_every_option_of_the_rescue_program_is_in_the_reference() -> None:
    from backups.__main__ import parser

    (commands,) = (action.choices for action in parser()._actions if isinstance(action.choices, dict))
    written = section(reference("commands.md"), "Rescue commands")
    words = {word for command in commands.values() for action in command._actions for word in action.option_strings}
    assert [word for word in words - {"-h", "--help"} if not re.search(rf"`{word}[ `]", written)] == []


def variables_of_sources() -> Iterator[str]:
    for path in (file for name in PRODUCT for file in _python_files(ROOT / name)):
        for node in ast.walk(ast.parse(text_of(path))):
            yield from _variables(node)


def _python_files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def _variables(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Subscript):
        touched: list[ast.AST] = [node.value]
        names: list[ast.expr] = [node.slice]
    elif isinstance(node, ast.Call):
        # The reader's name, or the mapping it is handed; not what the arguments are computed from.
        touched, names = [node.func, *node.args], node.args[:2]
    else:
        return
    if not any(_last_name(part) in READERS or _owner(part) in READERS for part in touched):
        return
    for name in names:
        if isinstance(name, ast.Constant) and isinstance(name.value, str) and VARIABLE.fullmatch(name.value):
            yield name.value


def _last_name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _owner(node: ast.AST) -> str:
    return _last_name(node.value) if isinstance(node, ast.Attribute) else ""


def variables_of_stack_files() -> Iterator[str]:
    for name in STACK_FILES:
        text = text_of(ROOT / name)
        yield from re.findall(r"(?<!\$)\$\{([A-Z_][A-Z0-9_]*)", text)
        for service in yaml.safe_load(text).get("services", {}).values():
            yield from service.get("environment", {})


def test_every_environment_variable_is_in_the_reference() -> None:
    found = {*variables_of_sources(), *variables_of_stack_files()}
    assert len(found) > 40, "the scan finds too little"
    assert {"RAGKEEP_VAR", "OLLAMA_URL", "CHROMIUM", "CI", "TZ", "PGDATA", "API_URL"} <= found
    assert sorted(name for name in found if f"`{name}`" not in reference("settings.md")) == []


def test_the_reference_has_no_variable_that_nothing_reads() -> None:
    sources = "".join(text_of(file) for name in PRODUCT for file in _python_files(ROOT / name))
    sources += "".join(text_of(ROOT / name) for name in STACK_FILES)
    listed = re.findall(r"(?m)^\| `([A-Z][A-Z0-9_]+)`", reference("settings.md"))
    assert listed
    assert [name for name in listed if name not in sources] == []


def routes() -> set[str]:
    """`METHOD /path` of everything the RAG service answers, hidden routes too; nothing is opened to list them."""
    secret, here = Secret("not a real one"), Path()
    settings = Settings(
        postgres_url="postgresql://rag@postgres/rag", postgres_password=secret, redis_url="redis://redis",
        redis_password=secret, vectordb_url="http://vectordb", ollama_url="http://ollama", documents_dir=here,
        index_dir=here, internal_token=secret, admin_email="a@b", admin_password=secret, chat_model="a",
        embed_model="b", max_upload_bytes=1, environment="test", log_level="INFO",
    )  # fmt: skip
    return {f"{method} {route.path}" for route in flat(create_app(settings).routes) for method in route.methods or ()}


def flat(routes: Iterable[object]) -> Iterator[APIRoute]:
    """The routes themselves; a router that was included holds them in its original."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        yield from flat(getattr(getattr(route, "original_router", None), "routes", []))


def test_every_route_of_the_rag_service_is_in_the_reference() -> None:
    listed = set(re.findall(r"(?m)^\| `([A-Z]+ /[^` ]*)`", reference("http-api.md")))
    assert listed == routes()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_job_is_in_the_reference(kind: str) -> None:
    assert re.search(rf"(?m)^\| `{kind}` \|", reference("agent-protocol.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = [link for link in links(page) if not leads_somewhere(page, link)]
    assert broken == []


def links(page: Path) -> list[str]:
    prose = re.sub(r"(?ms)^ *```.*?^ *```", "", text_of(page))
    return ["".join(found) for found in LINK.findall(prose)]


def leads_somewhere(page: Path, link: str) -> bool:
    if "://" in link:
        return True
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or anchor in {slug(title) for title in HEADING.findall(text_of(target))}


def slug(title: str) -> str:
    """A heading's anchor as Git hosting sites make it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_every_page_is_reached_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    assert [str(page.relative_to(ROOT)) for page in PAGES[1:] if page != index and page not in linked] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_only_known_hosts_and_common_paths(page: Path) -> None:
    # A reader has neither the machine it was written on nor its mirrors.
    text = text_of(page)
    named = {host.lower() for host in HOST.findall(text)}
    assert {host for host in named - HOSTS if not host.endswith("example.org")} == set()
    assert {root for root in ABSOLUTE.findall(text) if root not in ROOTS} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_calls_only_verbs_that_exist(page: Path) -> None:
    called = set(re.findall(r"manage\.py ([a-z][a-z-]*)", text_of(page)))
    assert called - VERBS.keys() == set()
