"""The settings and the secrets of the stack."""

from __future__ import annotations

from collections.abc import Sequence

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from portal.core import places
from portal.operations.errors import InputInvalid, OperationFailed
from portal.runtime.errors import StackRuntimeError
from portal.stacks.models import Stack
from portal.stacks.rotation import readers, secret_names
from portal.stacks.settings import Setting, replaced_by, setting_list, settings_change, settings_forget, waiting
from portal.stacks.variables import LONGEST
from portal.web.actions import refuse, start
from portal.web.pages import operators_only, page, user_of
from portal.web.services import at, stack_or_404

_TEXT = {"autocomplete": "off", "spellcheck": "false"}


class SettingsForm(forms.Form):
    """One field for each setting that the stack's file takes; what it begins with is shown masked where it is a secret,
    and stays as it is when it is sent back like that."""

    def __init__(self, rows: Sequence[Setting], data: QueryDict | None = None) -> None:
        super().__init__(data)
        for row in rows:
            self.fields[row.variable.name] = forms.CharField(
                required=False,
                # The service says what is too long, by name; this keeps a request from being endless.
                max_length=10 * LONGEST,
                strip=False,
                initial=row.entered,
                label=row.variable.name,
                help_text=_hint(row),
                widget=forms.TextInput(attrs={**_TEXT, "placeholder": row.variable.default or "not set"}),
            )


def _hint(row: Setting) -> str:
    waits = ""
    if row.waits is not None:
        waits = f" Now {row.shown or row.variable.default or 'not set'}; the next deploy changes it."
    used = "" if row.variable.known else f"Used by {', '.join(row.variable.services) or 'the project'}."
    return f"{row.variable.hint}{used}{waits}".strip()


@require_http_methods(["GET", "HEAD", "POST"])
@operators_only
def settings(request: HttpRequest, stack_name: str = "") -> HttpResponse:
    """Show them; or keep what was changed for the next deploy."""
    current = stack_or_404(stack_name)
    try:
        rows = setting_list(current)
    except (OperationFailed, StackRuntimeError) as fault:
        return page(request, "stack/settings", {"stack": current, "fault": fault})
    if request.method != "POST":
        return _page(request, current, rows, SettingsForm(rows))
    form = SettingsForm(rows, request.POST)
    if form.is_valid() and _kept(request, current, form):
        return redirect(reverse("settings", kwargs=at(stack_name)))
    return _page(request, current, rows, form, status=422)


def _kept(request: HttpRequest, current: Stack, form: SettingsForm) -> bool:
    """Whether it was; why not stands at the fields of the form."""
    try:
        waits = settings_change(stack=current, values=form.cleaned_data, user=user_of(request))
    except InputInvalid as refused:
        for name, sentence in refused.fields.items():
            form.add_error(name, sentence)
        return False
    except OperationFailed as failed:
        form.add_error(None, f"{failed.message} {failed.remedy}".strip())
        return False
    messages.success(request, "Kept. The next deploy changes them." if waits else "Everything is as it runs.")
    return True


@require_POST
@operators_only
def settings_drop(request: HttpRequest, stack_name: str = "") -> HttpResponse:
    try:
        settings_forget(stack=stack_or_404(stack_name), user=user_of(request))
    except OperationFailed as failed:
        refuse(request, failed)
    else:
        messages.success(request, "Forgotten. Everything stays as it runs.")
    return redirect(reverse("settings", kwargs=at(stack_name)))


@require_POST
@operators_only
def secret_rotate(request: HttpRequest, stack_name: str = "") -> HttpResponse:
    """Give a secret a new value; the one who asks must type its name."""
    name = request.POST.get("secret", "")
    if request.POST.get("name") != name:
        messages.error(request, f"Type {name or 'the name of the secret'} to rotate it. Nothing was changed.")
        return redirect(reverse("settings", kwargs=at(stack_name)))
    target = stack_or_404(stack_name).target
    return start(request, "stack.rotate", target, {"secret": name}, back="settings", **at(stack_name))


def _page(
    request: HttpRequest, current: Stack, rows: Sequence[Setting], form: SettingsForm, *, status: int = 200
) -> HttpResponse:
    spec = places.stack_spec(current.name)
    context = {
        "stack": current,
        "form": form,
        "waits": waiting(rows),
        "replaced": replaced_by(rows),
        "secrets": [(name, readers(spec, name)) for name in secret_names(spec)],
    }
    return page(request, "stack/settings", context, status=status)
