"""The doctor: what is wrong with this machine and this installation, and what to do about it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from portal.doctor.findings import ERROR, WORST_FIRST, Finding
from portal.doctor.kinds import MACHINE
from portal.doctor.look import doctor_look
from portal.operations.errors import OperationFailed
from portal.stacks.models import Stack
from portal.vaults.models import Repository
from portal.web.actions import start
from portal.web.pages import operators_only, page


@require_safe
@operators_only
def doctor(request: HttpRequest) -> HttpResponse:
    """Looks now; the worst first."""
    names = Stack.objects.values_list("name", flat=True)
    addresses = Repository.objects.filter(replaced_by=None).values_list("url", flat=True)
    try:
        found = doctor_look(names, addresses)
    except OperationFailed as silent:
        found = [Finding("portal", ERROR, silent.message, silent.remedy)]
    found.sort(key=lambda finding: WORST_FIRST.index(finding.state))
    counts = {state: sum(finding.state == state for finding in found) for state in WORST_FIRST}
    return page(request, "doctor", {"findings": found, "counts": counts})


@require_POST
@operators_only
def doctor_fix(request: HttpRequest) -> HttpResponse:
    """Do what a finding offers: start a service, tidy up, or what `portal.doctor.fixes` can."""
    fix = request.POST.get("fix", "")
    if fix == "clean-up":
        return redirect("clean-up")
    name, _, wanted = fix.partition(":")
    stack, _, service = wanted.partition("/")
    if name == "start" and service:
        return start(request, "stack.start", f"stack:{stack}", {"service": service}, back="doctor")
    return start(request, "doctor.fix", MACHINE, {"fix": fix}, back="doctor")
