"""Drills: how the last ones went, and the questions that they ask."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST, require_safe

from portal.operations.errors import InputInvalid, OperationError
from portal.stacks.models import Stack
from portal.vaults.golden import HITS, MAX_CHARS, question_add, question_list, question_remove, question_try
from portal.vaults.models import Drill, GoldenQuestion
from portal.web.pages import operators_only, page, user_of

SHOWN = 20


class QuestionForm(forms.Form):
    """A question for every drill."""

    question = forms.CharField(label="Question", max_length=MAX_CHARS, widget=forms.Textarea(attrs={"rows": 2}))
    expected = forms.CharField(
        label="Documents that must be found",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text=f"One file name a line, at most {HITS}. Left empty, anything that is about the question will do.",
    )


@require_safe
def drills(request: HttpRequest) -> HttpResponse:
    return _page(request, QuestionForm())


@require_POST
@operators_only
def question_new(request: HttpRequest) -> HttpResponse:
    """Add a question, or with the button `try` only show what the stack finds for it now."""
    form, stack = QuestionForm(request.POST), _stack()
    if not form.is_valid():
        return _page(request, form, status=422)
    asked, expected = form.cleaned_data["question"], form.cleaned_data["expected"].splitlines()
    try:
        if "try" in request.POST:
            return _page(request, form, tried=question_try(stack=stack, question=asked))
        question_add(stack=stack, question=asked, expected=expected, user=user_of(request))
    except InputInvalid as refused:
        for name, sentence in refused.fields.items():
            form.add_error(name, sentence)
        return _page(request, form, status=422)
    except OperationError as failed:
        messages.error(request, f"{failed.message} {failed.remedy}")
        return _page(request, form, status=503)
    messages.success(request, "Every drill asks this from now on.")
    return redirect("drills")


@require_POST
@operators_only
def question_delete(request: HttpRequest, question_id: int) -> HttpResponse:
    question_remove(question=get_object_or_404(GoldenQuestion, pk=question_id), user=user_of(request))
    messages.success(request, "Drills ask this no more.")
    return redirect("drills")


def _page(
    request: HttpRequest, form: QuestionForm, *, tried: list[str] | None = None, status: int = 200
) -> HttpResponse:
    context = {
        "drills": Drill.objects.select_related("set", "operation")[:SHOWN],
        "questions": question_list(stack=_stack()),
        "form": form,
        "tried": tried,
    }
    return page(request, "drills", context, status=status)


def _stack() -> str:
    found = Stack.objects.order_by("created_at").first()
    return found.name if found else ""
