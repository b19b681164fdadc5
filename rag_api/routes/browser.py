"""Signing in from a browser: a form in, a cookie out that no script can read.

The cookie only carries the session token to the chat, which sends it on as a bearer token. No route takes the cookie as
authentication, so a page of another origin gains nothing by having a browser send it along.
"""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Form, Request, status
from fastapi.responses import RedirectResponse

from rag_api import accounts
from rag_api.deps import ServicesDep
from rag_api.errors import ApiError
from rag_api.sessions import SESSION_HOURS, session_end, session_start

COOKIE: Final = "ragkeep_chat"
# Where a sign-in may lead: the chat's own pages, nothing a link from outside could choose.
_PAGES = re.compile(r"/(documents)?(\?conversation=[0-9a-f-]{36})?")


def same_origin(request: Request) -> None:
    """Let only forms of this very origin pass: SameSite takes every port of a host for one site.

    Raises:
        ApiError: 403, the browser says that another origin sent the form.
    """
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    if site != "same-origin" or (origin is not None and urlsplit(origin).netloc != request.headers.get("host")):
        raise ApiError(403, "other_origin", "This form came from another site; open the chat and sign in there.")


router = APIRouter(prefix="/api", tags=["browser"], dependencies=[Depends(same_origin)])
Field = Annotated[str, Form(max_length=1024)]


@router.post("/sign-in", summary="Sign in with a form", response_class=RedirectResponse, status_code=303)
def sign_in(
    services: ServicesDep, request: Request, email: Field = "", password: Field = "", page: Field = "/"
) -> RedirectResponse:
    """Exchange the form for a session in an HttpOnly cookie and lead back to the chat, with a reason when refused."""
    target = page if _PAGES.fullmatch(page) else "/"
    address = request.client.host if request.client else "unknown"
    try:
        user = accounts.sign_in(services, email=email, password=password, address=address)
    except ApiError as refusal:
        return _lead_to(f"{target}{'&' if '?' in target else '?'}refused={refusal.code}")
    token, _ = session_start(services, user.id)
    answer = _lead_to(target)
    _set_cookie(request, answer, token, SESSION_HOURS * 3600)
    return answer


@router.post("/sign-out", summary="Sign out of the browser", response_class=RedirectResponse, status_code=303)
def sign_out(services: ServicesDep, request: Request) -> RedirectResponse:
    """End the session that the cookie names, if any, and take the cookie away."""
    if token := request.cookies.get(COOKIE):
        session_end(services, token)
    answer = _lead_to("/")
    _set_cookie(request, answer, "", 0)
    return answer


def _lead_to(page: str) -> RedirectResponse:
    return RedirectResponse(page, status.HTTP_303_SEE_OTHER, headers={"Cache-Control": "no-store"})


def _set_cookie(request: Request, answer: RedirectResponse, value: str, seconds: int) -> None:
    # What the proxy in front says decides; a forged header could only make a browser drop the forger's own cookie.
    secure = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
    answer.set_cookie(COOKIE, value, max_age=seconds, path="/", secure=secure, httponly=True, samesite="strict")
