"""Verbs that list when they are called alone, and by `list`."""

from __future__ import annotations

import importlib
import json

import click
import pytest
from click.testing import CliRunner, Result

from portal.stacks.models import Stack

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.usefixtures("control_plane")]


@pytest.fixture(params=["alarms", "plans", "questions", "repositories", "sources", "stacks"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def verb(name: str, monkeypatch: pytest.MonkeyPatch) -> click.Group:
    module = importlib.import_module(f"config.cli.{name}")
    monkeypatch.setattr(module, "connect", lambda: None)
    command = module.command
    assert isinstance(command, click.Group)
    return command


def call(verb: click.Group, *words: str) -> Result:
    return CliRunner().invoke(verb, words)


def test_alone_and_by_list_it_says_the_same_one_object(verb: click.Group, name: str) -> None:
    Stack.objects.create(name="rag")
    alone, listed = call(verb, "--json"), call(verb, "list", "--json")
    assert (alone.exit_code, listed.exit_code) == (0, 0), alone.output
    assert alone.stdout == listed.stdout
    assert name in json.loads(alone.stdout)
    assert not call(verb).stdout.startswith("{")


def test_a_subcommand_does_not_list_too(verb: click.Group) -> None:
    assert call(verb, "list", "--help").stdout.count("Usage:") == 1
    assert verb.commands["list"].help
    assert verb.help


@pytest.mark.parametrize("name", ["questions", "sources"])
def test_before_there_is_a_stack_it_says_what_makes_one(verb: click.Group) -> None:
    done = call(verb, "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.exit_code, error["code"], error["remedy"]) == (1, "not_set_up", "python3 manage.py up")
