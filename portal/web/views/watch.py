"""What services use over time, and what happened to them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import cast

from django import forms
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils import timezone
from django.views.decorators.http import require_safe

from portal.stacks.models import Stack
from portal.watch.models import EventKind
from portal.watch.selectors import event_list, usage
from portal.web.charts import charts
from portal.web.pages import page
from portal.web.services import services_of, stack_or_404

RANGES = {"1h": ("Hour", timedelta(hours=1)), "24h": ("Day", timedelta(hours=24)), "7d": ("Week", timedelta(days=7))}
PER_PAGE = 50


class EventForm(forms.Form):
    """Which events to show."""

    service = forms.ChoiceField(required=False)
    kind = forms.ChoiceField(choices=[("", "Everything"), *EventKind.choices], required=False, label="What")

    def __init__(self, data: QueryDict, names: list[str]) -> None:
        super().__init__(data)
        field = cast(forms.ChoiceField, self.fields["service"])
        field.choices = [("", "All services"), *((name, name) for name in names)]


@require_safe
def use(request: HttpRequest, stack_name: str = "") -> HttpResponse:
    """Processor, memory, network and disk of every service, over an hour, a day or a week."""
    current, chosen = stack_or_404(stack_name), request.GET.get("range", "")
    chosen = chosen if chosen in RANGES else "1h"
    now = timezone.now()
    begin = now - RANGES[chosen][1]
    # One sample more: use is the difference of two.
    found = usage(current, since=begin - timedelta(minutes=11))
    drawn = [
        (name, charts(found[name], begin=begin.timestamp(), end=now.timestamp())) for name in _order(current, found)
    ]
    context = {
        "stack": current,
        "ranges": [(name, title, name == chosen) for name, (title, _) in RANGES.items()],
        "range": chosen,
        "begin": begin,
        "rows": [(service, shown) for service, shown in drawn if shown],
    }
    return page(request, "stack/use", context)


def _order(stack: Stack, found: Collection[str]) -> list[str]:
    """As in the stack file; what is no service any more at the end."""
    known = [row.name for row in services_of(stack).rows]
    return [*(name for name in known if name in found), *sorted(set(found) - set(known))]


@require_safe
def stack_events(request: HttpRequest, stack_name: str = "") -> HttpResponse:
    current = stack_or_404(stack_name)
    form = EventForm(request.GET, [row.name for row in services_of(current).rows])
    form.is_valid()
    found = event_list(current, service=form.cleaned_data.get("service", ""), kind=form.cleaned_data.get("kind", ""))
    query = request.GET.copy()
    query.pop("page", None)
    context = {
        "stack": current,
        "form": form,
        "page": Paginator(found, PER_PAGE).get_page(request.GET.get("page")),
        "query": query.urlencode(),
    }
    return page(request, "stack/events", context)
