"""The settings and the secrets of the stack."""

from __future__ import annotations

from collections.abc import Sequence

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from portal.core import places
from portal.operations.errors import InputInvalid
from portal.stacks.models import Stack
from portal.stacks.rotation import readers, secret_names
from portal.stacks.settings import Setting, services_replaced, setting_list, settings_change, settings_forget
from portal.stacks.variables import LONGEST
from portal.web.actions import start
from portal.web.pages import operators_only, page, user_of
from portal.web.services import stack_or_404

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
    return f"{row.variable.hint}{waits}".strip()


@require_http_methods(["GET", "HEAD", "POST"])
@operators_only
def settings(request: HttpRequest) -> HttpResponse:
    """Show them; or keep what was changed for the next deploy."""
    current = stack_or_404()
    rows = setting_list(current)
    if request.method != "POST":
        return _page(request, current, SettingsForm(rows))
    form = SettingsForm(rows, request.POST)
    if form.is_valid():
        try:
            waits = settings_change(stack=current, values=form.cleaned_data, user=user_of(request))
        except InputInvalid as refused:
            for name, sentence in refused.fields.items():
                form.add_error(name, sentence)
        else:
            messages.success(request, "Kept. The next deploy changes them." if waits else "Everything is as it runs.")
            return redirect("settings")
    return _page(request, current, form, status=422)


@require_POST
@operators_only
def settings_drop(request: HttpRequest) -> HttpResponse:
    settings_forget(stack=stack_or_404(), user=user_of(request))
    messages.success(request, "Forgotten. Everything stays as it runs.")
    return redirect("settings")


@require_POST
@operators_only
def secret_rotate(request: HttpRequest) -> HttpResponse:
    """Give a secret a new value; the one who asks must type its name."""
    name = request.POST.get("secret", "")
    if request.POST.get("name") != name:
        messages.error(request, f"Type {name or 'the name of the secret'} to rotate it. Nothing was changed.")
        return redirect("settings")
    return start(request, "stack.rotate", stack_or_404().target, {"secret": name}, back="settings")


def _page(request: HttpRequest, current: Stack, form: SettingsForm, *, status: int = 200) -> HttpResponse:
    spec = places.stack_spec(current.name)
    context = {
        "stack": current,
        "form": form,
        "waits": [row for row in setting_list(current) if row.waits is not None],
        "replaced": services_replaced(current),
        "secrets": [(name, readers(spec, name)) for name in secret_names(spec)],
    }
    return page(request, "stack/settings", context, status=status)
