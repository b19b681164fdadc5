"""What Git servers call: the secret in each form, wrong ones slowed down, other branches left alone."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from django.test import Client

from portal.operations.models import Operation
from portal.stacks.models import Project, Stack
from portal.stacks.projects.hooks import MOST_WRONG, hook_renew

pytestmark = [pytest.mark.integration, pytest.mark.django_db]
PUSH = json.dumps({"ref": "refs/heads/live"}).encode()


@pytest.fixture
def secret(control_plane: None) -> str:
    stack = Stack.objects.create(name="shop", runtime="compose")
    project = Project.objects.create(stack=stack, kind="git", place="https://git.example.org/shop.git", branch="live")
    return hook_renew(project=project).reveal()


def call(headers: dict[str, str], body: bytes = PUSH, name: str = "shop") -> int:
    guarded = Client(enforce_csrf_checks=True)
    return guarded.post(f"/hooks/{name}/", body, content_type="application/json", headers=headers).status_code


@pytest.mark.parametrize("how", ["bearer", "gitlab", "signed"])
def test_a_push_fetches_and_deploys(secret: str, how: str) -> None:
    digest = hmac.new(secret.encode(), PUSH, hashlib.sha256).hexdigest()
    headers = {
        "bearer": {"Authorization": f"Bearer {secret}"},
        "gitlab": {"X-Gitlab-Token": secret},
        "signed": {"X-Hub-Signature-256": f"sha256={digest}"},
    }[how]
    assert call(headers) == 202
    operation = Operation.objects.get()
    assert (operation.kind, operation.target, operation.params) == ("project.fetch", "stack:shop", {"deploy": True})


def test_another_branch_starts_nothing(secret: str) -> None:
    assert call({"Authorization": f"Bearer {secret}"}, json.dumps({"ref": "refs/heads/other"}).encode()) == 202
    assert not Operation.objects.exists()


def test_wrong_secrets_are_refused_and_slowed_down(secret: str) -> None:
    wrong = [
        call({"Authorization": "Bearer wrong"}),
        call({}),
        call({"Authorization": f"Bearer {secret}"}, name="nowhere"),
    ]
    wrong += [call({"X-Hub-Signature-256": "sha256=" + "0" * 64}) for _ in range(MOST_WRONG - len(wrong))]
    assert set(wrong) == {403}
    assert call({"Authorization": f"Bearer {secret}"}) == 429
    assert not Operation.objects.exists()


def test_a_new_secret_ends_the_one_before(secret: str) -> None:
    hook_renew(project=Project.objects.get())
    assert call({"Authorization": f"Bearer {secret}"}) == 403
    assert Client().get("/hooks/shop/").status_code == 405
