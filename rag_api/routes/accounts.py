"""Routes of sessions, accounts and API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Request, status
from pydantic import BaseModel, Field

from rag_api import accounts
from rag_api.access import Need, authorise
from rag_api.deps import ServicesDep, UserDep, bearer_token
from rag_api.sessions import session_end, session_start

router = APIRouter(prefix="/api")


class Credentials(BaseModel):
    """What signing in takes."""

    email: str = Field(max_length=254)
    password: str = Field(max_length=1024)


class Person(BaseModel):
    """An account as its owner sees it."""

    id: UUID
    email: str
    name: str
    is_admin: bool


class Session(BaseModel):
    """An open session; the token is shown this once."""

    token: str
    expires_at: datetime
    user: Person


class Account(Person):
    """An account as an administrator sees it."""

    active: bool
    created_at: datetime


class NewAccount(Credentials):
    """What a new account takes."""

    name: str = Field(default="", max_length=200)
    is_admin: bool = False


class AccountChange(BaseModel):
    """What may change; anything left out stays."""

    active: bool | None = None
    password: str | None = Field(default=None, max_length=1024)
    name: str | None = Field(default=None, min_length=1, max_length=200)


class Key(BaseModel):
    """An API key without its secret part."""

    id: UUID
    name: str
    prefix: str
    created_at: datetime
    last_used_at: datetime | None


class NewKey(Key):
    """A key just made; `key` is shown this once."""

    key: str


@router.post("/session", tags=["session"], summary="Sign in")
def open_session(services: ServicesDep, request: Request, body: Credentials) -> Session:
    """Exchange an e-mail address and a password for a session token."""
    address = request.client.host if request.client else "unknown"
    user = accounts.sign_in(services, email=body.email, password=body.password, address=address)
    token, expires_at = session_start(services, user.id)
    return Session(token=token, expires_at=expires_at, user=_person(user.id, user.email, user.name, user.is_admin))


@router.delete("/session", tags=["session"], summary="Sign out", status_code=status.HTTP_204_NO_CONTENT)
def close_session(services: ServicesDep, request: Request, _user: UserDep) -> None:
    """End the session of the token that this request carries."""
    session_end(services, bearer_token(request))


@router.get("/me", tags=["session"], summary="Who am I")
def me(user: UserDep) -> Person:
    """The account that the token or key speaks for."""
    return _person(user.id, user.email, user.name, user.is_admin)


@router.post("/keys", tags=["keys"], summary="Make an API key", status_code=status.HTTP_201_CREATED)
def make_key(services: ServicesDep, user: UserDep, name: Annotated[str, Body(embed=True, max_length=200)]) -> NewKey:
    """Make a key for a program; it may do what its owner may do."""
    with services.pool.connection() as connection:
        row, key = accounts.key_create(connection, user, name)
    return NewKey(**row, key=key)


@router.get("/keys", tags=["keys"], summary="List my API keys")
def list_keys(services: ServicesDep, user: UserDep) -> dict[str, list[Key]]:
    """The keys in force, without their secret parts."""
    with services.pool.connection() as connection:
        return {"keys": [Key(**row) for row in accounts.key_list(connection, user)]}


@router.delete("/keys/{key_id}", tags=["keys"], summary="Revoke an API key", status_code=status.HTTP_204_NO_CONTENT)
def revoke_key(services: ServicesDep, user: UserDep, key_id: UUID) -> None:
    """Revoke one of my keys; it stops working with the next request."""
    with services.pool.connection() as connection:
        accounts.key_revoke(connection, user, key_id)


@router.get("/users", tags=["users"], summary="List accounts")
def list_users(services: ServicesDep, user: UserDep) -> dict[str, list[Account]]:
    """Every account; administrators only."""
    with services.pool.connection() as connection:
        authorise(connection, user, Need.ADMINISTER)
        return {"users": [Account(**row) for row in accounts.user_list(connection)]}


@router.post("/users", tags=["users"], summary="Create an account", status_code=status.HTTP_201_CREATED)
def create_user(services: ServicesDep, user: UserDep, body: NewAccount) -> Account:
    """Create an account and its personal knowledge base; administrators only."""
    with services.pool.connection() as connection:
        authorise(connection, user, Need.ADMINISTER)
        row = accounts.user_create(
            connection, email=body.email, name=body.name, password=body.password, is_admin=body.is_admin
        )
    return Account(**row)


@router.patch("/users/{user_id}", tags=["users"], summary="Change an account")
def change_user(services: ServicesDep, user: UserDep, user_id: UUID, body: AccountChange) -> Account:
    """Rename, disable, enable, or set a new password; administrators only."""
    with services.pool.connection() as connection:
        authorise(connection, user, Need.ADMINISTER)
        row = accounts.user_update(
            connection, user, user_id, active=body.active, password=body.password, name=body.name
        )
    return Account(**row)


def _person(user_id: UUID, email: str, name: str, is_admin: bool) -> Person:
    return Person(id=user_id, email=email, name=name, is_admin=is_admin)
