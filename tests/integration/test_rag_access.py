"""Who may do what: every route of the service with every role, accounts, sessions and keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest
from fastapi.routing import APIRoute

from rag_api.app import create_app
from tests.support import servers
from tests.support.rag_stack import ADMIN, RagStack, rag_stack

pytestmark = pytest.mark.integration

ROLES = ("nobody", "stranger", "reader", "writer", "owner", "admin")

# Status by role, in the order of ROLES; base, document and conversation belong to the owner.
# A stranger and an administrator alike get 404 for what is not theirs; 401 always comes before anything else.
MATRIX: dict[tuple[str, str], tuple[int, int, int, int, int, int]] = {
    ("GET", "/api/me"): (401, 200, 200, 200, 200, 200),
    ("GET", "/api/keys"): (401, 200, 200, 200, 200, 200),
    ("POST", "/api/keys"): (401, 201, 201, 201, 201, 201),
    ("DELETE", "/api/keys/{key_id}"): (401, 404, 404, 404, 404, 404),
    ("GET", "/api/users"): (401, 403, 403, 403, 403, 200),
    ("POST", "/api/users"): (401, 403, 403, 403, 403, 400),
    ("PATCH", "/api/users/{user_id}"): (401, 403, 403, 403, 403, 200),
    ("GET", "/api/bases"): (401, 200, 200, 200, 200, 200),
    ("POST", "/api/bases"): (401, 400, 400, 400, 400, 400),
    ("GET", "/api/bases/{base_id}/members"): (401, 404, 200, 200, 200, 404),
    ("PUT", "/api/bases/{base_id}/members/{user_id}"): (401, 404, 403, 403, 204, 404),
    ("DELETE", "/api/bases/{base_id}/members/{user_id}"): (401, 404, 403, 403, 404, 404),
    ("GET", "/api/documents"): (401, 404, 200, 200, 200, 404),
    ("POST", "/api/documents"): (401, 404, 403, 200, 200, 404),
    ("GET", "/api/documents/{document_id}"): (401, 404, 200, 200, 200, 404),
    ("GET", "/api/documents/{document_id}/content"): (401, 404, 200, 200, 200, 404),
    ("POST", "/api/documents/{document_id}/retry"): (401, 404, 403, 409, 409, 404),
    ("DELETE", "/api/documents/{document_id}"): (401, 404, 403, 202, 202, 404),
    ("POST", "/api/search"): (401, 404, 200, 200, 200, 404),
    ("POST", "/api/ask"): (401, 404, 200, 200, 200, 404),
    ("POST", "/v1/chat/completions"): (401, 404, 200, 200, 200, 404),
    ("GET", "/v1/models"): (401, 200, 200, 200, 200, 200),
    ("GET", "/v1/models/{model:path}"): (401, 200, 200, 200, 200, 200),
    ("POST", "/v1/embeddings"): (401, 404, 404, 404, 404, 404),
    ("GET", "/api/conversations"): (401, 200, 200, 200, 200, 200),
    ("GET", "/api/conversations/{conversation_id}"): (401, 404, 404, 404, 200, 404),
    ("DELETE", "/api/conversations/{conversation_id}"): (401, 404, 404, 404, 204, 404),
    ("GET", "/internal/counts"): (401, 401, 401, 401, 401, 401),
    ("GET", "/internal/schema"): (401, 401, 401, 401, 401, 401),
    ("POST", "/internal/nearest"): (401, 401, 401, 401, 401, 401),
    ("POST", "/internal/search"): (401, 401, 401, 401, 401, 401),
    ("DELETE", "/api/session"): (401, 204, 204, 204, 204, 204),
}
# For everyone, signed in or not.
OPEN = {
    ("POST", "/api/session"),
    ("POST", "/api/sign-in"),
    ("POST", "/api/sign-out"),
    ("GET", "/health"),
    ("GET", "/idle"),
    ("GET", "/ready"),
}


@dataclass
class World:
    """An api, a client for each role, and one base with a document whose owner is `owner`."""

    stack: RagStack
    clients: dict[str, httpx.Client]
    base: str
    document: str
    conversation: str
    ids: dict[str, str]


@pytest.fixture(scope="module")
def world(
    postgres_server: servers.Postgres, valkey_server: servers.Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    with ExitStack() as stack:
        root = tmp_path_factory.mktemp("rag")
        nowhere = f"http://127.0.0.1:{servers.free_port()}"
        rag = stack.enter_context(rag_stack(root, postgres_server, valkey_server, nowhere, nowhere))
        yield _populated(rag)


def _populated(rag: RagStack) -> World:
    admin = rag.admin()
    clients = {name: rag.new_user(admin, name) for name in ("stranger", "reader", "writer", "owner")}
    clients |= {"admin": admin, "nobody": httpx.Client(base_url=rag.api_url)}
    ids = {name: client.get("/api/me").json()["id"] for name, client in clients.items() if name != "nobody"}
    owner = clients["owner"]
    base = owner.post("/api/bases", json={"name": "Shared"}).json()["id"]
    for role in ("reader", "writer"):
        owner.put(f"/api/bases/{base}/members/{ids[role]}", json={"role": role}).raise_for_status()
    uploaded = owner.post("/api/documents", files={"file": ("shared.txt", b"Shared.")}, data={"base": base})
    conversation = rag.query(
        "INSERT INTO conversations (user_id, title) VALUES (%s, 'Mine') RETURNING id", ids["owner"]
    )
    return World(rag, clients, base, uploaded.json()["id"], str(conversation[0]["id"]), ids)


def _request(world: World, client: httpx.Client, method: str, path: str) -> httpx.Response:
    member = world.ids["stranger"]
    url = path.replace("{model:path}", "ragkeep").format(
        key_id=member, user_id=member, base_id=world.base, document_id=world.document,
        conversation_id=world.conversation,
    )  # fmt: skip
    if (method, path) == ("POST", "/api/documents"):
        return client.post(url, files={"file": ("shared.txt", b"Shared.")}, data={"base": world.base})
    if (method, path) == ("GET", "/api/documents"):
        return client.get(url, params={"base": world.base})
    bodies: dict[tuple[str, str], object] = {
        ("POST", "/api/keys"): {"name": "mine"},
        ("POST", "/api/users"): {"email": "no address", "password": "x" * 20},
        ("PATCH", "/api/users/{user_id}"): {"name": "Stranger"},
        ("POST", "/api/bases"): {"name": " "},
        ("PUT", "/api/bases/{base_id}/members/{user_id}"): {"role": "reader"},
        ("POST", "/api/search"): {"question": "what", "base": world.base},
        ("POST", "/api/ask"): {"question": "what", "base": world.base},
        ("POST", "/v1/chat/completions"): {
            "model": "ragkeep",
            "messages": [{"role": "user", "content": "what"}],
            "base": world.base,
        },
        # Whoever may ask may embed; a model that is not there is the same to everybody.
        ("POST", "/v1/embeddings"): {"model": "none", "input": "what"},
        ("POST", "/internal/nearest"): {"collection": "x", "vectors": [[1.0]], "k": 1},
    }
    return client.request(method, url, json=bodies.get((method, path)))


def test_every_route_is_in_the_matrix(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag_api.app.setup_logging", lambda level: None)
    flat: list[object] = list(create_app(world.stack.settings).routes)
    routes: set[tuple[str, str]] = set()
    while flat:
        route = flat.pop()
        if isinstance(route, APIRoute):
            routes |= {(method, route.path) for method in route.methods or set()}
        else:
            flat += getattr(getattr(route, "original_router", None), "routes", [])
    assert routes == set(MATRIX) | OPEN


def test_every_route_in_every_role(world: World) -> None:
    wrong = []
    for (method, path), expected in MATRIX.items():
        for role, status in zip(ROLES, expected, strict=True):
            if path.endswith("members/{user_id}"):
                world.stack.query("DELETE FROM members WHERE user_id = %s RETURNING 1", world.ids["stranger"])
            got = _request(world, world.clients[role], method, path)
            if got.status_code != status:
                wrong.append((method, path, role, status, got.status_code, got.text[:200]))
            if got.status_code >= 400:
                further = {"type", "param"} if path.startswith("/v1/") else set()
                assert set(got.json()["error"]) == {"code", "message"} | further
    assert wrong == []


def test_wrong_password_and_unknown_account_look_alike(world: World) -> None:
    url = f"{world.stack.api_url}/api/session"
    wrong = httpx.post(url, json={"email": ADMIN, "password": "wrong password"})
    unknown = httpx.post(url, json={"email": "no.such@example.org", "password": "wrong password"})
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()


def test_guessing_is_slowed_down(world: World) -> None:
    url, victim = f"{world.stack.api_url}/api/session", {"email": "victim@example.org", "password": "guess"}
    answers = [httpx.post(url, json=victim).status_code for _ in range(11)]
    assert answers == [401] * 10 + [429]


def test_signing_out_ends_the_session(world: World) -> None:
    client = world.stack.admin()
    assert client.get("/api/me").status_code == 200
    assert client.delete("/api/session").status_code == 204
    assert client.get("/api/me").status_code == 401


def test_disabled_account_is_out_at_once(world: World) -> None:
    admin = world.stack.admin()
    person = world.stack.new_user(admin, "leaver")
    user_id = person.get("/api/me").json()["id"]
    key = world.stack.client(person.post("/api/keys", json={"name": "program"}).json()["key"])
    assert key.get("/api/me").status_code == 200
    admin.patch(f"/api/users/{user_id}", json={"active": False}).raise_for_status()
    assert (person.get("/api/me").status_code, key.get("/api/me").status_code) == (401, 401)
    own = admin.get("/api/me").json()["id"]
    assert admin.patch(f"/api/users/{own}", json={"active": False}).status_code == 409


def test_keys_are_shown_once_stored_hashed_and_revocable(world: World) -> None:
    admin = world.stack.admin()
    made = admin.post("/api/keys", json={"name": "program"}).json()
    listed = admin.get("/api/keys").json()["keys"]
    assert [k["prefix"] for k in listed if k["id"] == made["id"]] == [made["key"][:10]]
    assert made["key"] not in str(listed)
    stored = world.stack.query("SELECT encode(key_hash, 'escape') AS h, prefix FROM api_keys")
    assert made["key"] not in str(stored)
    program = world.stack.client(made["key"])
    assert program.get("/api/me").json()["email"] == ADMIN
    assert admin.delete(f"/api/keys/{made['id']}").status_code == 204
    assert program.get("/api/me").status_code == 401


def test_passwords_are_argon2id_and_sessions_hashed(world: World) -> None:
    hashes = [row["password_hash"] for row in world.stack.query("SELECT password_hash FROM users")]
    assert all(h.startswith("$argon2id$") for h in hashes)


def test_internal_routes_take_the_internal_token_only(world: World) -> None:
    token = (world.stack.root / "secrets" / "internal").read_text().strip()
    counts = world.stack.client(token).get("/internal/counts")
    assert counts.status_code == 200
    assert counts.json()["users"] >= 5
    assert world.stack.client(token).get("/api/me").status_code == 401


def test_member_may_leave_and_owner_is_no_member(world: World) -> None:
    admin = world.stack.admin()
    owner, guest = world.stack.new_user(admin, "host"), world.stack.new_user(admin, "guest")
    base = owner.post("/api/bases", json={"name": "Ours"}).json()
    assert base["role"] == "owner"
    guest_id = guest.get("/api/me").json()["id"]
    owner.put(f"/api/bases/{base['id']}/members/{guest_id}", json={"role": "reader"}).raise_for_status()
    assert "Ours" in {b["name"] for b in guest.get("/api/bases").json()["bases"]}
    assert guest.delete(f"/api/bases/{base['id']}/members/{guest_id}").status_code == 204
    assert "Ours" not in {b["name"] for b in guest.get("/api/bases").json()["bases"]}
    assert owner.put(f"/api/bases/{base['id']}/members/{base['owner_id']}", json={"role": "reader"}).status_code == 409


def test_invalid_request_names_the_field(world: World) -> None:
    answer = world.stack.admin().post("/api/users", json={"email": "a@b.org"})
    assert answer.status_code == 422
    assert "password" in answer.json()["error"]["message"]
