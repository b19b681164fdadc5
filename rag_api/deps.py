"""What a route may depend on: the services, the signed-in user, the bases that user may read."""

from __future__ import annotations

import hmac
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from rag_api.access import Need, User, authorise, bases_visible
from rag_api.errors import ApiError
from rag_api.services import Services
from rag_api.sessions import user_of_token


def get_services(request: Request) -> Services:
    """The services of the running application."""
    services: Services = request.app.state.services
    return services


def bearer_token(request: Request) -> str:
    """The token of the Authorization header; raises ApiError 401 when there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise ApiError(
            401, "unauthenticated", "Sign in first: send 'Authorization: Bearer <session token or API key>'."
        )
    return token.strip()


def current_user(request: Request) -> User:
    """The active user of the request's session or API key; raises ApiError 401."""
    return user_of_token(get_services(request), bearer_token(request))


def require_internal(request: Request) -> None:
    """Let only the holder of the internal token pass; raises ApiError 401."""
    expected = get_services(request).settings.internal_token.reveal()
    if not hmac.compare_digest(bearer_token(request).encode(), expected.encode()):
        raise ApiError(401, "unauthenticated", "This address is for the stack itself and needs its internal token.")


ServicesDep = Annotated[Services, Depends(get_services)]
UserDep = Annotated[User, Depends(current_user)]


def visible_bases(services: Services, user: User, base: UUID | None = None) -> list[UUID]:
    """The bases `user` may read; with `base` just that one.

    Raises:
        ApiError: 404, `base` does not exist or is not the user's to see.
    """
    with services.pool.connection() as connection:
        if base is not None:
            authorise(connection, user, Need.READ, base)
            return [base]
        return bases_visible(connection, user)
