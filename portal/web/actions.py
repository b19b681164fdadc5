"""Starting an operation from a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from portal.operations.errors import OperationError
from portal.operations.services import operation_start
from portal.runtime.errors import StackRuntimeError
from portal.web.pages import user_of


def start(
    request: HttpRequest, kind: str, target: str, params: Mapping[str, Any], *, back: str, **back_args: str | int
) -> HttpResponse:
    """Start an operation and go to its page; when it is refused, go `back` with the reason and the remedy."""
    try:
        operation = operation_start(kind=kind, target=target, params=params, user=user_of(request))
    except OperationError as refused:
        refuse(request, refused)
        return redirect(reverse(back, kwargs=back_args))
    return redirect("operation", operation_id=operation.pk)


def refuse(request: HttpRequest, refused: OperationError | StackRuntimeError) -> None:
    """Say why not, and what to do, on the next page."""
    messages.error(request, f"{refused.message} {refused.remedy}".strip())
