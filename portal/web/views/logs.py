"""What services write: followed, searched, kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from django import forms
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from portal.operations.errors import OperationError
from portal.runtime.errors import StackRuntimeError, UnknownServiceError
from portal.stacks.loglines import Line, Wanted
from portal.stacks.logs import stack_lines, stack_log_text
from portal.stacks.models import Stack
from portal.web.pages import operators_only, page
from portal.web.services import services_of, stack_or_404
from portal.web.streams import Blocks, Full

Fault = StackRuntimeError | OperationError

DOWNLOAD_LINES = 50_000
BLOCK_CHARACTERS = 64 * 1024
LEVELS = [("debug", "Everything"), ("info", "Info and worse"), ("warning", "Warnings and errors"), ("error", "Errors")]


class LogForm(forms.Form):
    """How much of a log, and which lines of it."""

    q = forms.CharField(
        required=False,
        max_length=200,
        strip=False,
        label="Only lines with",
        widget=forms.TextInput(attrs={"type": "search"}),
    )
    level = forms.ChoiceField(choices=LEVELS, required=False, label="Level")
    lines = forms.TypedChoiceField(
        choices=[(n, f"{n:,}") for n in (100, 200, 500, 2000)],
        coerce=int,
        required=False,
        initial=200,
        label="Of the last",
    )
    service = forms.SlugField(required=False, widget=forms.HiddenInput)
    follow = forms.BooleanField(required=False)

    @property
    def wanted(self) -> Wanted:
        given = self.cleaned_data
        return Wanted(given.get("q", ""), given.get("level") or "debug")


@require_safe
@operators_only
def logs(request: HttpRequest, stack_name: str = "") -> HttpResponse:
    """Of all services, or of the one named by `?service=`."""
    form = _form(request)
    return _page(request, stack_or_404(stack_name), form, form.cleaned_data.get("service", ""))


@require_safe
@operators_only
def service_log(request: HttpRequest, service: str, stack_name: str = "") -> HttpResponse:
    return _page(request, stack_or_404(stack_name), _form(request), service)


@require_safe
@operators_only
def log_download(request: HttpRequest, service: str = "", stack_name: str = "") -> HttpResponseBase:
    """The same lines as a file, read service by service and sent piece by piece."""
    form, current = _form(request), stack_or_404(stack_name)
    name = service or form.cleaned_data.get("service", "")
    try:
        names = [name] if name else [row.name for row in services_of(current).rows]
        texts = _texts(current, names, form.wanted)
        blocks = Blocks(_blocks(texts), lambda: None)
    except UnknownServiceError:
        raise Http404(name) from None
    except Full:
        return HttpResponse("Enough downloads are running already. Wait until one of them ends.\n", status=503)
    except (StackRuntimeError, OperationError) as fault:
        return HttpResponse(f"{fault.message} {fault.remedy}\n", status=502, content_type="text/plain; charset=utf-8")
    disposition = {"Content-Disposition": f'attachment; filename="{name or current.name}.log"'}
    return StreamingHttpResponse(blocks, content_type="text/plain; charset=utf-8", headers=disposition)


def _form(request: HttpRequest) -> LogForm:
    """What was asked for; what makes no sense counts as not given."""
    form = LogForm(request.GET)
    form.is_valid()
    return form


def _page(request: HttpRequest, current: Stack, form: LogForm, service: str) -> HttpResponse:
    wanted = form.wanted
    lines, fault = _lines(current, service, form.cleaned_data.get("lines") or 200)
    shown = [line for line in lines if wanted.takes(line)]
    seen = _digest(shown, fault)
    # A page that has these lines already keeps them, with what its reader selected in them.
    if request.headers.get("HX-Request") == "true" and request.GET.get("seen") == seen:
        return HttpResponse(status=204)
    context = {
        "stack": current,
        "service": service,
        "services": services_of(current).rows,
        "form": form,
        "needle": wanted.needle,
        "filtered": bool(wanted.needle) or wanted.least != "debug",
        "follow": form.cleaned_data.get("follow", False),
        "query": _query(request),
        "read": len(lines),
        "lines": shown,
        "fault": fault,
        "seen": seen,
    }
    return page(request, "stack/log", context)


def _query(request: HttpRequest) -> str:
    """What was asked for, without what belongs to one page: whether it follows, and what it has seen."""
    query = request.GET.copy()
    for name in ("follow", "seen", "service"):
        query.pop(name, None)
    return query.urlencode()


def _lines(current: Stack, service: str, count: int) -> tuple[list[Line], Fault | None]:
    """The end of the log, or why it cannot be read.

    Raises:
        Http404: the stack has no such service.
    """
    try:
        return stack_lines(current, [service] if service else [], lines=count), None
    except UnknownServiceError:
        raise Http404(service) from None
    except (StackRuntimeError, OperationError) as fault:
        return [], fault


def _digest(lines: list[Line], fault: Fault | None) -> str:
    text = "\n".join(f"{line.service} {line.text}" for line in lines) + (fault.message if fault else "")
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _texts(stack: Stack, names: list[str], wanted: Wanted) -> Iterator[str]:
    """Services after each other, with a line above each where there are several."""
    for name in names:
        if len(names) > 1:
            yield f"==== {name}\n"
        yield from stack_log_text(stack, name, lines=DOWNLOAD_LINES, wanted=wanted)


def _blocks(texts: Iterator[str]) -> Iterator[bytes]:
    """Texts in blocks of a size that is worth sending; the last one may be empty."""
    gathered, size = list[str](), 0
    for text in texts:
        gathered.append(text)
        size += len(text)
        if size >= BLOCK_CHARACTERS:
            yield "".join(gathered).encode()
            gathered, size = [], 0
    yield "".join(gathered).encode()
