"""Alarms: what is wrong, what was, and the channels that are told."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST, require_safe

from portal.alarms import selectors
from portal.alarms.channels import ADDRESSES, channel_add, channel_remove, channel_switch, channel_test, masked_address
from portal.alarms.models import Channel, Severity
from portal.operations.errors import InputInvalid
from portal.web.pages import operators_only, page, user_of


class ChannelForm(forms.Form):
    """A channel to add."""

    name = forms.SlugField(label="Name", max_length=50, help_text="What you call it: letters, digits, hyphens.")
    url = forms.CharField(
        label="Address",
        max_length=1000,
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"}, render_value=True),
        help_text=f"Like {ADDRESSES}. It may hold a password, so it is kept in a file and shown masked.",
    )
    least = forms.ChoiceField(
        label="Tell it of",
        choices=[(Severity.WARNING, "Everything"), (Severity.BAD, "Only what is bad")],
        widget=forms.RadioSelect,
        initial=Severity.WARNING,
    )


@require_safe
def alarms(request: HttpRequest) -> HttpResponse:
    return _page(request, ChannelForm())


@require_POST
@operators_only
def channel_new(request: HttpRequest) -> HttpResponse:
    form = ChannelForm(request.POST)
    if form.is_valid():
        try:
            added = channel_add(**form.cleaned_data, user=user_of(request))
        except InputInvalid as refused:
            for name, sentence in refused.fields.items():
                form.add_error(name, sentence)
        else:
            messages.success(request, f"The channel {added.name} was added. Test it now.")
            return redirect("alarms")
    return _page(request, form, status=422)


@require_POST
@operators_only
def channel_try(request: HttpRequest, channel: str) -> HttpResponse:
    error = channel_test(channel=get_object_or_404(Channel, name=channel))
    if error:
        messages.error(request, f"The message to {channel} did not arrive. {error}")
    else:
        messages.success(request, f"A message went to {channel}. Look whether it arrived.")
    return redirect("alarms")


@require_POST
@operators_only
def channel_turn(request: HttpRequest, channel: str) -> HttpResponse:
    enabled = request.POST.get("enabled") == "yes"
    channel_switch(channel=get_object_or_404(Channel, name=channel), enabled=enabled, user=user_of(request))
    return redirect("alarms")


@require_POST
@operators_only
def channel_delete(request: HttpRequest, channel: str) -> HttpResponse:
    channel_remove(channel=get_object_or_404(Channel, name=channel), user=user_of(request))
    messages.success(request, f"The channel {channel} was removed.")
    return redirect("alarms")


def _page(request: HttpRequest, form: ChannelForm, *, status: int = 200) -> HttpResponse:
    context: dict[str, Any] = {
        "open": selectors.alarm_list_open(),
        "past": selectors.alarm_list_past(),
        "channels": [{"channel": row, "address": masked_address(row)} for row in selectors.channel_list()],
        "form": form,
    }
    return page(request, "alarms", context, status=status)
