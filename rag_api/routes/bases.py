"""Routes of knowledge bases and their members."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Body, status
from pydantic import BaseModel

from rag_api import bases
from rag_api.deps import ServicesDep, UserDep

router = APIRouter(prefix="/api/bases", tags=["bases"])


class Base(BaseModel):
    """A knowledge base as the asking user sees it."""

    id: UUID
    name: str
    owner_id: UUID
    owner: str
    personal: bool
    role: Literal["reader", "writer", "owner"]
    documents: int
    created_at: datetime


class Member(BaseModel):
    """An account with a role in a base."""

    user_id: UUID
    email: str
    name: str
    role: Literal["reader", "writer"]


@router.get("", summary="List knowledge bases")
def list_bases(services: ServicesDep, user: UserDep) -> dict[str, list[Base]]:
    """The bases I own or am a member of, my personal one first."""
    with services.pool.connection() as connection:
        return {"bases": [Base(**row) for row in bases.base_list(connection, user)]}


@router.post("", summary="Create a knowledge base", status_code=status.HTTP_201_CREATED)
def create_base(services: ServicesDep, user: UserDep, name: Annotated[str, Body(embed=True, max_length=1000)]) -> Base:
    """Create a base that I own."""
    with services.pool.connection() as connection:
        return Base(**bases.base_create(connection, user, name))


@router.get("/{base_id}/members", summary="List members")
def list_members(services: ServicesDep, user: UserDep, base_id: UUID) -> dict[str, list[Member]]:
    """Who else may use this base."""
    with services.pool.connection() as connection:
        return {"members": [Member(**row) for row in bases.member_list(connection, user, base_id)]}


@router.put("/{base_id}/members/{user_id}", summary="Set a member's role", status_code=status.HTTP_204_NO_CONTENT)
def set_member(
    services: ServicesDep,
    user: UserDep,
    base_id: UUID,
    user_id: UUID,
    role: Annotated[Literal["reader", "writer"], Body(embed=True)],
) -> None:
    """Give an account a role in a base that I own."""
    with services.pool.connection() as connection:
        bases.member_set(connection, user, base_id, user_id, role)


@router.delete("/{base_id}/members/{user_id}", summary="Remove a member", status_code=status.HTTP_204_NO_CONTENT)
def remove_member(services: ServicesDep, user: UserDep, base_id: UUID, user_id: UUID) -> None:
    """Take an account out of a base that I own, or leave one."""
    with services.pool.connection() as connection:
        bases.member_remove(connection, user, base_id, user_id)
