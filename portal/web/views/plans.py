"""Plans: the list, one of them, adding and changing one, pausing, running and removing it."""

from __future__ import annotations

from copy import copy

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from portal.operations.errors import InputInvalid, OperationRefused
from portal.vaults.models import Plan
from portal.vaults.planrules import PlanFields, plan_read
from portal.vaults.plans import plan_add, plan_pause, plan_remove, plan_resume, plan_run_now, plan_update
from portal.vaults.planview import plan_fates, plan_runs, plan_state, plan_told, row_of
from portal.vaults.schedule import zone_of
from portal.web.actions import refuse
from portal.web.forms_plans import PauseForm, PlanForm
from portal.web.pages import operators_only, page, user_of


@require_safe
def plans(request: HttpRequest) -> HttpResponse:
    rows = [row_of(plan) for plan in _plans().order_by("pk")]
    return page(request, "plans", {"rows": rows})


@require_safe
def plan_one(request: HttpRequest, plan_name: str) -> HttpResponse:
    return _one(request, _get(plan_name))


@require_http_methods(["GET", "HEAD", "POST"])
@operators_only
def plan_new(request: HttpRequest) -> HttpResponse:
    """Add a plan, or show what it would do without adding it."""
    form = PlanForm(request.POST or None)
    if request.method != "POST":
        return page(request, "plans/edit", {"form": form})
    if form.is_valid():
        try:
            return _saved_or_shown(request, form, None)
        except OperationRefused as refused:
            _blame(form, refused)
    return page(request, "plans/edit", {"form": form}, status=422)


@require_http_methods(["GET", "HEAD", "POST"])
@operators_only
def plan_edit(request: HttpRequest, plan_name: str) -> HttpResponse:
    """Change a plan, or show what the changed one would do without changing it."""
    plan = _get(plan_name)
    form = PlanForm(request.POST or None, plan=plan)
    if request.method == "POST" and form.is_valid():
        try:
            return _saved_or_shown(request, form, plan)
        except OperationRefused as refused:
            _blame(form, refused)
    context = {"form": form, "plan": plan, "told": plan_told(plan)}
    return page(request, "plans/edit", context, status=422 if request.method == "POST" else 200)


@require_POST
@operators_only
def plan_act(request: HttpRequest, plan_name: str) -> HttpResponse:
    """Pause, resume or run a plan."""
    plan, action = _get(plan_name), request.POST.get("action")
    try:
        if action == "run":
            operation = plan_run_now(plan=plan, user=user_of(request))
            return redirect("operation", operation_id=operation.pk)
        if action == "resume":
            plan_resume(plan=plan, user=user_of(request))
        elif action == "pause":
            return _pause(request, plan)
        else:
            messages.error(request, "Nothing was done: choose to pause, to resume or to run the plan.")
    except OperationRefused as refused:
        refuse(request, refused)
    return redirect("plan", plan_name=plan.name)


@require_POST
@operators_only
def plan_delete(request: HttpRequest, plan_name: str) -> HttpResponse:
    """Remove a plan whose name was typed; its sets stay."""
    plan = _get(plan_name)
    if request.POST.get("name", "").strip() != plan.name:
        messages.error(request, f"Nothing was removed: type {plan.name} to remove this plan.")
        return redirect("plan", plan_name=plan.name)
    try:
        plan_remove(plan=plan, user=user_of(request))
    except OperationRefused as refused:
        refuse(request, refused)
        return redirect("plan", plan_name=plan_name)
    messages.success(request, f"The plan {plan_name} was removed. Its sets are still there.")
    return redirect("plans")


def _pause(request: HttpRequest, plan: Plan) -> HttpResponse:
    form = PauseForm(request.POST)
    if not form.is_valid():
        return _one(request, plan, pause=form, status=422)
    until = form.cleaned_data["until"]
    try:
        at = until.replace(tzinfo=zone_of(plan.time_zone)) if until else None
        plan_pause(plan=plan, until=at, user=user_of(request))
    except InputInvalid as refused:
        form.add_error("until", refused.fields["until"])
        return _one(request, plan, pause=form, status=422)
    return redirect("plan", plan_name=plan.name)


def _saved_or_shown(request: HttpRequest, form: PlanForm, plan: Plan | None) -> HttpResponse:
    """Raises: OperationRefused: the values cannot be used."""
    values = form.values()
    if request.POST.get("action") == "preview":
        return _shown(request, form, plan, values)
    if plan is None:
        made = plan_add(name=form.cleaned_data["name"], user=user_of(request), **values)
        messages.success(request, f"The plan {made.name} was added.")
        return redirect("plan", plan_name=made.name)
    plan_update(plan=plan, user=user_of(request), **values)
    messages.success(request, "The plan was changed.")
    return redirect("plan", plan_name=plan.name)


def _shown(request: HttpRequest, form: PlanForm, plan: Plan | None, values: PlanFields) -> HttpResponse:
    tried = plan_read(copy(plan) if plan else Plan(name=form.cleaned_data["name"]), values)
    context = {"form": form, "plan": plan, "told": plan_told(tried), "fates": plan_fates(tried), "tried": True}
    return page(request, "plans/edit", context)


def _blame(form: PlanForm, refused: OperationRefused) -> None:
    if isinstance(refused, InputInvalid):
        form.blame(refused.fields)
    else:
        form.add_error(None, f"{refused.message} {refused.remedy}".strip())


def _one(request: HttpRequest, plan: Plan, *, pause: PauseForm | None = None, status: int = 200) -> HttpResponse:
    context = {
        "plan": plan,
        "told": plan_told(plan),
        "state": plan_state(plan),
        "fates": plan_fates(plan),
        "runs": plan_runs(plan),
        "hooks": plan.hooks.all() if request.user.is_staff else [],
        "pause": pause or PauseForm(),
    }
    return page(request, "plans/one", context, status=status)


def _plans() -> QuerySet[Plan]:
    return Plan.objects.select_related("repository", "last_operation")


def _get(name: str) -> Plan:
    """Raises: Http404: there is no such plan."""
    return get_object_or_404(_plans(), name=name)
