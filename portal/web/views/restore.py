"""Restoring a set: the confirmation, what it would change, undoing and keeping."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_POST, require_safe

from portal.operations.errors import OperationError
from portal.runtime.errors import StackRuntimeError
from portal.stacks.counts import stack_counts
from portal.stacks.models import Stack
from portal.vaults.bare import restore_preview
from portal.vaults.models import Restore, SetState
from portal.web import preview
from portal.web.actions import start
from portal.web.pages import operators_only, page
from portal.web.views.sets import set_or_404


class RestoreForm(forms.Form):
    """Confirmation of a restore: the stack's name, and whether to keep today's data as a set first."""

    safety = forms.TypedChoiceField(
        choices=[
            ("yes", "Take a safety set first. Slower by one backup, and nothing of today is lost."),
            ("no", "No safety set. Faster; what is newer than the set is gone for good once the restore is kept."),
        ],
        coerce=lambda value: value == "yes",
        initial="yes",
        widget=forms.RadioSelect,
        label="Before the restore",
    )
    name = forms.CharField(
        label="Type the name of the stack to confirm",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
    )

    def clean_name(self) -> str:
        stack = str(self.initial["stack"])
        if self.cleaned_data["name"] != stack:
            raise ValidationError(f"That is not the name of the stack. Type {stack} to restore into it.")
        return stack


@operators_only
def set_restore(request: HttpRequest, set_id: str) -> HttpResponse:
    """What a restore would change, then the restore itself."""
    found = set_or_404(set_id)
    form = RestoreForm(request.POST or None, initial={"safety": "yes", "stack": found.stack})
    if request.method == "POST" and form.is_valid():
        params = {"set": found.pk, "safety": form.cleaned_data["safety"]}
        return start(request, "restore", f"stack:{found.stack}", params, back="set-restore", set_id=set_id)
    context = {
        "set": found,
        "form": form,
        "rows": preview.rows(_counts_now(found.stack), found.counts),
        "usable": found.state == SetState.COMPLETE,
    }
    return page(request, "sets/restore", context, status=422 if form.errors else 200)


@require_safe
@operators_only
def set_preview(request: HttpRequest, set_id: str) -> HttpResponse:
    """Have the agent compare the set with the live stack, document by document; takes seconds."""
    found = set_or_404(set_id)
    context: dict[str, Any] = {"set": found}
    try:
        context["changes"] = preview.changes(restore_preview(found)["preview"])
    except (OperationError, StackRuntimeError) as refused:
        context["fault"] = refused
    return page(request, "sets/preview", context)


@require_POST
@operators_only
def restore_undo(request: HttpRequest, restore_id: int) -> HttpResponse:
    return _settle(request, "restore.undo", restore_id)


@require_POST
@operators_only
def restore_keep(request: HttpRequest, restore_id: int) -> HttpResponse:
    return _settle(request, "restore.confirm", restore_id)


def _settle(request: HttpRequest, kind: str, restore_id: int) -> HttpResponse:
    found = get_object_or_404(Restore.objects.select_related("operation"), pk=restore_id)
    return start(request, kind, found.operation.target, {"restore": str(found.operation_id)}, back="dashboard")


def _counts_now(stack: str) -> dict[str, int]:
    found = Stack.objects.filter(name=stack).first()
    return (stack_counts(found) if found else None) or {}
