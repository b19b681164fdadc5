"""Recovery: the card for paper, the proof that somebody holds the key, and taking over from a lost machine."""

from __future__ import annotations

from dataclasses import dataclass

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from backups.secret import Secret
from portal.operations.errors import OperationRefused
from portal.vaults.keyproof import DUE_AFTER, key_prove, keyproof_due, keyproof_last, keyproofs_last
from portal.vaults.models import KeyProof, Repository
from portal.vaults.recover import plans_held, plans_take_over
from portal.vaults.recoverycard import recovery_card
from portal.vaults.selectors import repositories_in_use
from portal.web.pages import operators_only, page, user_of


class KeyForm(forms.Form):
    """The key of a repository, typed by whoever keeps it."""

    key = forms.CharField(
        label="Key",
        max_length=1000,
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false", "autofocus": True}),
        help_text="From where you keep it, not from this machine. It is not stored.",
        error_messages={"required": "Type or paste the key."},
    )


@dataclass(frozen=True, slots=True)
class Row:
    """A repository and what is known about its key."""

    repository: Repository
    last: KeyProof | None
    due: bool


@require_safe
def recovery(request: HttpRequest) -> HttpResponse:
    repositories = repositories_in_use()
    proofs = keyproofs_last(repositories)
    rows = [Row(each, proofs.get(each.pk), keyproof_due(each, proofs.get(each.pk))) for each in repositories]
    return page(request, "recovery", {"rows": rows, "held": plans_held()})


@require_safe
@operators_only
def card(request: HttpRequest, repository: str) -> HttpResponse:
    found = get_object_or_404(Repository, name=repository)
    return render(request, "web/recovery/card/page.html", {"card": recovery_card(found)})


@sensitive_post_parameters("key")
@require_http_methods(["GET", "HEAD", "POST"])
@operators_only
def key_proof(request: HttpRequest, repository: str) -> HttpResponse:
    found = get_object_or_404(Repository, name=repository)
    form = KeyForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid() and _proven(request, found, form):
        return redirect("recovery")
    context = {"repository": found, "form": form, "last": keyproof_last(found)}
    return page(request, "recovery/prove", context, status=422 if request.method == "POST" else 200)


def _proven(request: HttpRequest, repository: Repository, form: KeyForm) -> bool:
    """Try the key; what is wrong stands beside the field."""
    try:
        proof = key_prove(repository=repository, typed=Secret(form.cleaned_data["key"].strip()), user=user_of(request))
    except OperationRefused as refused:
        form.add_error("key", f"{refused.message} {refused.remedy}".strip())
        return False
    if not proof.passed:
        form.add_error("key", "That key does not open the repository. Find the right one while this machine has it.")
        return False
    messages.success(request, f"That key opens {repository.name}. The next proof is due in {DUE_AFTER.days} days.")
    return True


@require_POST
@operators_only
def take_over(request: HttpRequest) -> HttpResponse:
    names = [plan.name for plan in plans_take_over(user=user_of(request))]
    if names:
        messages.success(request, f"This machine has taken over. Running again: {', '.join(names)}.")
    else:
        messages.info(request, "No plan was held: this machine backs up already.")
    return redirect("recovery")
