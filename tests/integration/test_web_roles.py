"""Every page and every action, asked for by every role: nothing is reachable by accident."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.test import Client
from django.urls import URLPattern, reverse

from portal.web.urls import urlpatterns
from tests.support import portal_web
from tests.support.portal_projects.engine import stand_in
from tests.support.portal_web import Rows

pytestmark = [pytest.mark.integration, pytest.mark.django_db]


@dataclass(frozen=True, slots=True)
class Expected:
    """Status for somebody who may look, and for an operator; `to` is where an operator is sent."""

    method: str
    reader: int
    operator: int
    data: tuple[tuple[str, str], ...] = ()
    to: str = ""


PAGE = Expected("get", 200, 200)
OPERATORS_PAGE = Expected("get", 403, 200)
ACTION = Expected("post", 403, 302, to="/operations/")

EXPECTED: dict[str, Expected] = {
    "dashboard": PAGE,
    "sign-out": Expected("post", 302, 302, to="/sign-in/"),
    "password": PAGE,
    "stack": PAGE,
    "stacks": PAGE,
    "stack-add": OPERATORS_PAGE,
    "stack-adopt": Expected("post", 403, 302, to="/stacks/"),
    "project": PAGE,
    "project-update": ACTION,
    "project-allow": Expected("post", 403, 302, (("name", "shop"),), "/stacks/shop/project/"),
    "project-hook": Expected("post", 403, 200),
    "project-token": Expected("post", 403, 302, (("token", "x"),), "/stacks/shop/project/"),
    "project-remove": Expected("post", 403, 302, (("name", "shop"),), "/operations/"),
    "deploy": OPERATORS_PAGE,
    "deploy-look": Expected("post", 403, 302, to="/stack/deploy/?plan="),
    "deploy-begin": Expected("post", 403, 302, (("note", "why"),), "/operations/"),
    "releases": PAGE,
    "release": PAGE,
    "release-compare": PAGE,
    "roll-back": OPERATORS_PAGE,
    "stack-act": Expected("post", 403, 302, (("action", "restart"),), "/operations/"),
    "doctor": OPERATORS_PAGE,
    "doctor-fix": Expected("post", 403, 302, (("fix", "secrets"),), "/operations/"),
    "settings": OPERATORS_PAGE,
    "settings-forget": Expected("post", 403, 302, to="/stack/settings/"),
    "secret-rotate": Expected(
        "post", 403, 302, (("secret", "redis_password"), ("name", "redis_password")), "/operations/"
    ),
    "terminal": OPERATORS_PAGE,
    "terminal-allow": Expected("post", 403, 302, (("idle_minutes", "5"),), "/stack/terminal/"),
    "terminal-open": Expected("post", 403, 422, (("service", "api"), ("password", "not the password"))),
    # Somebody else's.
    "terminal-session": Expected("get", 403, 404),
    "terminal-send": Expected("post", 403, 404),
    "terminal-end": Expected("post", 403, 302, to="/stack/terminal/"),
    "clean-up": OPERATORS_PAGE,
    "clean-up-start": Expected("post", 403, 302, (("sorts", "logs"),), "/operations/"),
    "updates-look": Expected("post", 403, 302, to="/stack/"),
    "updates-daily": Expected("post", 403, 302, (("daily", "off"),), "/stack/"),
    "use": PAGE,
    "stack-events": PAGE,
    "logs": OPERATORS_PAGE,
    "logs-download": OPERATORS_PAGE,
    "service-log": OPERATORS_PAGE,
    "service-log-download": OPERATORS_PAGE,
    "sets": PAGE,
    "backup-now": ACTION,
    "drill-now": ACTION,
    "set": PAGE,
    "set-browse": OPERATORS_PAGE,
    "set-index": Expected("post", 403, 302, to="/sets/"),
    "set-fetch": Expected("get", 403, 302, to="/sets/"),
    "set-label": Expected("post", 403, 302, to="/sets/"),
    "set-pin": Expected("post", 403, 302, (("pinned", "yes"),), "/sets/"),
    "set-verify": Expected("post", 403, 302),
    "set-delete": Expected("post", 403, 422),
    "set-restore": OPERATORS_PAGE,
    "set-preview": OPERATORS_PAGE,
    "restore-undo": ACTION,
    "restore-keep": ACTION,
    "drills": PAGE,
    "question-add": Expected("post", 403, 302, (("question", "What is lift?"),), "/drills/"),
    "question-remove": Expected("post", 403, 302, to="/drills/"),
    "alarms": PAGE,
    "channel-add": Expected(
        "post", 403, 302, (("name", "x"), ("url", "json://127.0.0.1:9/x"), ("least", "bad")), "/alarms/"
    ),
    "channel-test": Expected("post", 403, 302, to="/alarms/"),
    "channel-switch": Expected("post", 403, 302, to="/alarms/"),
    "channel-remove": Expected("post", 403, 302, to="/alarms/"),
    "sources": PAGE,
    "source-add": Expected("post", 403, 302, to="/sources/"),
    "source-test": Expected("post", 403, 302, to="/sources/"),
    "source-remove": Expected("post", 403, 302, to="/sources/"),
    "plans": PAGE,
    "plan": PAGE,
    "plan-new": OPERATORS_PAGE,
    "plan-edit": OPERATORS_PAGE,
    "plan-act": Expected("post", 403, 302, (("action", "run"),), "/operations/"),
    "plan-delete": Expected("post", 403, 302, (("name", "nightly"),), "/plans/"),
    "operations": PAGE,
    "operation": PAGE,
    "operation-cancel": Expected("post", 403, 302, to="/operations/"),
    "operation-log": PAGE,
    "repositories": PAGE,
    "repository": PAGE,
    "repository-add": OPERATORS_PAGE,
    "repository-edit": OPERATORS_PAGE,
    "repository-test": Expected("post", 403, 200),
    "repository-adopt": ACTION,
    "repository-remove": Expected("post", 403, 302, to="/repositories/"),
    "upkeep": PAGE,
    "upkeep-act": Expected("post", 403, 302, (("action", "check"),), "/operations/"),
    "upkeep-care": Expected("post", 403, 302, (("check_parts", "7"),), "/repositories/"),
    "recovery": PAGE,
    "take-over": Expected("post", 403, 302, to="/recovery/"),
    "recovery-card": OPERATORS_PAGE,
    "key-proof": OPERATORS_PAGE,
    "help": PAGE,
}
# The stream is asked for by every role in test_web_events.py, from a real server; health and hooks have own files.
ELSEWHERE = {"sign-in", "events", "health", "hook", "terminal-stream"}


@pytest.fixture
def world(
    seen: dict[str, Client], used: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Client]]:
    stand_in(tmp_path, monkeypatch.setattr)
    world_args.update(
        {
            "service": "api",
            "stack_name": portal_web.further("shop", tmp_path, ("api", "db")).stack.name,
            "number": 1,
            "channel": "mail",
            "question_id": used.question.pk,
            "plan_name": "nightly",
            "source": "wiki",
            "repository": "default",
            "set_id": used.good.pk,
            "restore_id": used.kept.pk,
            "operation_id": used.done.pk,
            "session_id": uuid.uuid4(),
        }
    )
    yield seen
    world_args.clear()


world_args: dict[str, str | int | uuid.UUID] = {}


# Pages that the product's own stack and every further one have.
OF_STACKS = sorted(name for name, times in Counter(p.name or "" for p in urlpatterns).items() if times == 2)


def address(name: str, *, further: bool = False) -> str:
    """Of the product's own stack, or of the further one."""
    patterns = [p for p in urlpatterns if p.name == name]
    names = patterns[-1 if further else 0].pattern.converters
    return reverse(name, kwargs={key: world_args[key] for key in names})


def ask(client: Client, name: str, *, further: bool = False) -> tuple[int, str]:
    expected = EXPECTED[name]
    answer = getattr(client, expected.method)(address(name, further=further), dict(expected.data))
    return answer.status_code, answer.headers.get("Location", "")


def test_the_table_has_every_address() -> None:
    names = {p.name for p in urlpatterns if isinstance(p, URLPattern)}
    assert names == set(EXPECTED) | ELSEWHERE


@pytest.mark.parametrize("name", EXPECTED)
def test_nobody_gets_in_without_signing_in(world: dict[str, Client], name: str) -> None:
    status, location = ask(world["anonymous"], name)
    assert (status, location.split("?")[0]) == (302, "/sign-in/")


@pytest.mark.parametrize("name", EXPECTED)
def test_a_reader_sees_but_does_not_operate(world: dict[str, Client], name: str) -> None:
    assert ask(world["reader"], name)[0] == EXPECTED[name].reader


@pytest.mark.parametrize("name", EXPECTED)
def test_an_operator_may_do_everything(world: dict[str, Client], name: str) -> None:
    status, location = ask(world["operator"], name)
    assert status == EXPECTED[name].operator
    assert location.startswith(EXPECTED[name].to)


@pytest.mark.parametrize("name", [n for n, e in EXPECTED.items() if e.method == "post"])
def test_what_acts_cannot_be_asked_for_by_a_link(world: dict[str, Client], name: str) -> None:
    assert world["operator"].get(address(name)).status_code == 405


@pytest.mark.parametrize("name", [n for n, e in EXPECTED.items() if e.method == "post"])
def test_what_acts_needs_the_token_of_its_form(world: dict[str, Client], name: str) -> None:
    guarded = Client(enforce_csrf_checks=True)
    assert guarded.login(username=portal_web.OPERATOR, password=portal_web.PASSWORD)
    answer = guarded.post(address(name), dict(EXPECTED[name].data))
    assert answer.status_code == 403
    assert b"Nothing was done" in answer.content


def test_the_pages_of_a_stack_are_one_family() -> None:
    assert {"stack", "deploy", "releases", "roll-back", "settings", "logs", "use", "stack-events"} <= set(OF_STACKS)


@pytest.mark.parametrize("name", OF_STACKS)
def test_a_further_stack_has_the_same_pages_for_the_same_roles(world: dict[str, Client], name: str) -> None:
    expected = EXPECTED[name]
    assert ask(world["anonymous"], name, further=True)[0] == 302
    assert ask(world["reader"], name, further=True)[0] == expected.reader
    status, location = ask(world["operator"], name, further=True)
    assert status == expected.operator
    # It has no secret of that name.
    to = "/stack/settings/" if name == "secret-rotate" else expected.to
    assert location.startswith(to.replace("/stack/", "/stacks/shop/"))
