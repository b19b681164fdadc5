"""Restoring a set: choosing, looking, confirming, undoing and keeping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from portal.operations.models import Operation
from portal.vaults.models import Restore
from portal.web.views import restore as views
from tests.support.portal_web import Rows, text_of

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.usefixtures("used")]

LOOK = "what=whole&where=stack&stack=rag&mode=exact&deleted=stay&safety=yes"


def begun(kind: str) -> list[dict[str, Any]]:
    return list(Operation.objects.filter(kind=kind, state="queued").values_list("params", flat=True))


@pytest.mark.parametrize("query", ["", f"?look=1&{LOOK}"])
@pytest.mark.parametrize(("role", "status"), [("anonymous", 302), ("reader", 403), ("operator", 200)])
def test_only_operators_choose_and_look(
    seen: dict[str, Client], used: Rows, role: str, status: int, query: str
) -> None:
    assert seen[role].get(f"/sets/{used.good.pk}/restore/{query}").status_code == status
    assert seen[role].get(f"/sets/{used.good.pk}/restore/preview/").status_code == status


@pytest.mark.parametrize("role", ["anonymous", "reader"])
def test_nobody_else_can_begin_undo_or_keep(seen: dict[str, Client], used: Rows, role: str) -> None:
    seen[role].post(f"/sets/{used.good.pk}/restore/", {"name": "rag"})
    for verb in ("undo", "keep"):
        seen[role].post(f"/restores/{used.kept.pk}/{verb}/")
    assert not Operation.objects.filter(kind__startswith="restore", state="queued").exists()


def test_choosing_offers_what_the_set_holds(seen: dict[str, Client], used: Rows) -> None:
    text = text_of(seen["operator"], f"/sets/{used.good.pk}/restore/")
    for offered in ('value="models"', 'value="merge"', 'value="folder"', 'value="lost"', "Stay deleted"):
        assert offered in text
    assert 'value="config"' not in text, "this set holds none"


def test_looking_says_what_stands_still_and_keeps_the_choice(seen: dict[str, Client], used: Rows) -> None:
    chosen = "what=sources&sources=models&where=stack&stack=rag&safety=no"
    text = text_of(seen["operator"], f"/sets/{used.good.pk}/restore/?look=1&{chosen}")
    assert "ollama" in text
    assert "ingest" not in text
    assert '<input type="hidden" name="sources" value="models">' in text
    assert "no figure yet" in text
    assert f'hx-get="/sets/{used.good.pk}/restore/preview/?look=1&amp;what=sources' in text


def test_what_does_not_go_together_is_said_before_anything_is_looked_at(seen: dict[str, Client], used: Rows) -> None:
    address = f"/sets/{used.good.pk}/restore/?look=1&what=sources&where=stack&stack=rag"
    assert "Choose at least one source" in text_of(seen["operator"], address, 422)
    assert "rows apart" in text_of(seen["operator"], f"{address}&sources=documents", 422)
    nowhere = f"/sets/{used.good.pk}/restore/?look=1&what=whole&where=folder&folder=there"
    assert "no absolute path" in text_of(seen["operator"], nowhere, 422)
    lost = f"/sets/{used.good.pk}/restore/?look=1&what=lost&where=folder&folder=/there"
    assert "Lost files go back into a stack" in text_of(seen["operator"], lost, 422)


@pytest.mark.parametrize(
    ("fields", "params"),
    [
        ({"mode": "merge", "deleted": "back"}, {"mode": "merge", "keep_deleted": False, "safety": True}),
        (
            {"mode": "exact", "deleted": "stay", "safety": "no"},
            {"mode": "exact", "keep_deleted": True, "safety": False},
        ),
        ({"what": "sources", "sources": ["models"]}, {"sources": ["models"], "safety": True}),
    ],
)
def test_what_was_chosen_is_what_begins(
    seen: dict[str, Client], used: Rows, fields: dict[str, Any], params: dict[str, Any]
) -> None:
    seen["operator"].post(f"/sets/{used.good.pk}/restore/", {**fields, "name": "rag"})
    assert begun("restore") == [{"set": used.good.pk, **params}]


def test_a_folder_and_single_documents_need_no_name(seen: dict[str, Client], used: Rows, tmp_path: Path) -> None:
    address, folder = f"/sets/{used.good.pk}/restore/", str(tmp_path / "there")
    seen["operator"].post(address, {"where": "folder", "folder": folder})
    assert begun("restore.folder") == [{"set": used.good.pk, "folder": folder}]


def test_names_of_documents_are_one_a_line(
    seen: dict[str, Client], used: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.core.places.stack_exists", lambda _name: True)
    address = f"/sets/{used.good.pk}/restore/"
    seen["operator"].post(address, {"what": "documents", "documents": "a.txt\r\n\r\n b.txt "})
    assert begun("restore.documents") == [{"set": used.good.pk, "documents": ["a.txt", "b.txt"]}]


REPORT = {
    "sources": None,
    "mode": "merge",
    "keep_deleted": True,
    "preview": {
        "counts": {"documents": {"live": 3, "set": 4, "change": 1}},
        "documents": {"gained_count": 2, "lost_count": 1, "gained": ["a.txt", "<b>"], "lost": ["new.txt"]},
        "models": {"gained": [], "lost": []},
        "users": {"gained_count": 0, "lost_count": 1, "gained": [], "lost": ["carol@example.org"]},
        "deletions": {"count": 3, "names": ["x.txt", "y.txt", "z.txt"]},
        "damaged": {"count": 2, "names": ["p.txt", "q.txt"], "returning": 2},
    },
}


def test_the_comparison_names_what_comes_goes_and_stays(
    seen: dict[str, Client], used: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def look(_target: str, params: dict[str, Any]) -> dict[str, Any]:
        asked.append(params)
        return REPORT

    monkeypatch.setattr(views, "restore_look", look)
    text = text_of(seen["operator"], f"/sets/{used.good.pk}/restore/preview/?{LOOK}&mode=merge")
    assert asked[0]["mode"] == "merge"
    for said in (
        "3 documents were deleted after this set and stay deleted",
        "2 documents have lost their file",
        "Accounts added since, that stay",
        "carol@example.org",
        "&lt;b&gt;",
    ):
        assert said in text


def test_a_restore_asks_for_the_name_of_the_stack(seen: dict[str, Client], used: Rows) -> None:
    address = f"/sets/{used.good.pk}/restore/"
    for name in ("", "RAG", "other"):
        answer = seen["operator"].post(address, {"safety": "yes", "name": name})
        assert answer.status_code == 422
        assert 'aria-invalid="true"' in answer.content.decode()
    assert not Operation.objects.filter(kind="restore", state="queued").exists()
    answer = seen["operator"].post(address, {"safety": "yes", "name": "rag"})
    made = Operation.objects.get(kind="restore", state="queued")
    assert made.params == {"set": used.good.pk, "safety": True}
    assert answer.headers["Location"] == f"/operations/{made.pk}/"


def test_a_restore_without_a_safety_set_is_a_choice(seen: dict[str, Client], used: Rows) -> None:
    seen["operator"].post(f"/sets/{used.good.pk}/restore/", {"safety": "no", "name": "rag"})
    assert Operation.objects.get(kind="restore", state="queued").params["safety"] is False


def test_a_restore_page_says_when_the_stack_cannot_be_compared(seen: dict[str, Client], used: Rows) -> None:
    text = text_of(seen["operator"], f"/sets/{used.good.pk}/restore/?look=1&{LOOK}")
    assert "The stack does not answer" in text
    assert "1,398 documents" in text


def test_a_preview_that_cannot_be_made_says_why(seen: dict[str, Client], used: Rows) -> None:
    text = text_of(seen["operator"], f"/sets/{used.good.pk}/restore/preview/")
    assert 'role="alert"' in text


def test_a_partial_set_offers_no_restore(seen: dict[str, Client], used: Rows) -> None:
    text = text_of(seen["operator"], f"/sets/{used.partial.pk}/restore/")
    assert "cannot be restored as a whole" in text
    assert 'name="safety"' not in text
    answer = seen["operator"].post(f"/sets/{used.partial.pk}/restore/", {"safety": "yes", "name": "rag"})
    assert answer.status_code == 422
    assert not Operation.objects.filter(kind="restore", state="queued").exists()


@pytest.mark.parametrize(("verb", "kind"), [("undo", "restore.undo"), ("keep", "restore.confirm")])
def test_a_kept_restore_is_undone_or_kept(seen: dict[str, Client], used: Rows, verb: str, kind: str) -> None:
    answer = seen["operator"].post(f"/restores/{used.kept.pk}/{verb}/")
    made = Operation.objects.get(kind=kind)
    assert made.params == {"restore": str(used.kept.operation_id)}
    assert answer.headers["Location"] == f"/operations/{made.pk}/"


def test_a_settled_restore_cannot_be_undone(seen: dict[str, Client], used: Rows) -> None:
    Restore.objects.update(state="confirmed")
    answer = seen["operator"].post(f"/restores/{used.kept.pk}/undo/", follow=True)
    assert 'role="alert"' in answer.content.decode()
    assert not Operation.objects.filter(kind="restore.undo").exists()
