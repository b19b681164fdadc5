"""Operations on a stack as a whole, or on one of its services: `params["service"]`."""

from __future__ import annotations

from collections.abc import Collection

from portal.core import places
from portal.core.deployed import deployed_get, start_deployed
from portal.operations.context import Context
from portal.operations.errors import OperationRefused
from portal.operations.faults import runtime_faults
from portal.operations.registry import Outcome, Params, alone, operation_kind
from portal.runtime.errors import StackRuntimeError
from portal.runtime.protocol import ServiceStatus
from portal.runtime.spec import StackSpec
from portal.stacks.models import Stack, StackState
from portal.stacks.selectors import stack_of

# More than any machine this is for has processors to give.
MOST = 50


def _joins(_target: str, params: Params) -> str:
    return str(params.get("service") or "")


def _check(target: str, params: Params) -> None:
    name = stack_of(target).name
    if params.get("service"):
        try:
            places.stack_spec(name).service(str(params["service"]))
        except StackRuntimeError as fault:
            raise OperationRefused(fault.message, code=fault.code, remedy=fault.remedy) from None


def _chosen(ctx: Context) -> tuple[StackSpec, Collection[str] | None]:
    service = ctx.params.get("service")
    return places.stack_spec(ctx.operation.stack_name), [str(service)] if service else None


def _wanted(ctx: Context, state: StackState) -> None:
    if not ctx.params.get("service"):
        Stack.objects.filter(name=ctx.operation.stack_name).update(state=state)


def _start(ctx: Context) -> None:
    spec, services = _chosen(ctx)
    total, healthy = len(services or spec.services), set[str]()

    def report(status: ServiceStatus) -> None:
        if status.state == "healthy":
            healthy.add(status.service)
        ctx.progress("Starting", min(1.0, len(healthy) / total), note=f"{status.title}: {status.state}")

    # Not undone by a cancel: a stack that is half started helps nobody.
    with ctx.step("start", "Start and wait until healthy", undoing=True) as data, runtime_faults():
        plan = start_deployed(spec, services=services, report=report)
        data["changes"] = {change.service: str(change.action) for change in plan.changes}
    _wanted(ctx, StackState.RUNNING)


def _stop(ctx: Context) -> None:
    spec, services = _chosen(ctx)
    if services is None and (kept := ctx.params.get("keep")):
        services = [name for name in spec.services if name not in kept]
    with ctx.step("stop", "Stop"), runtime_faults():
        places.runtime().stop(spec, services=services)


@operation_kind("stack.start", title="Start", claims=alone, joins=_joins, check=_check)
def stack_start(ctx: Context) -> Outcome:
    """Start what does not run, as it was deployed, and wait until it is healthy."""
    _start(ctx)
    return Outcome()


@operation_kind("stack.stop", title="Stop", claims=alone, joins=_joins, check=_check)
def stack_stop(ctx: Context) -> Outcome:
    """Stop; data stays."""
    _stop(ctx)
    _wanted(ctx, StackState.STOPPED)
    return Outcome()


@operation_kind("stack.restart", title="Restart", claims=alone, joins=_joins, check=_check)
def stack_restart(ctx: Context) -> Outcome:
    """Stop, then start; a worker that takes over after the stop goes on with the start."""
    if ctx.done("stop") is None:
        _stop(ctx)
    _start(ctx)
    return Outcome()


def _joins_count(_target: str, params: Params) -> str:
    return f"{params.get('service') or ''} {params.get('instances')}"


def _check_service(target: str, params: Params) -> None:
    if not params.get("service"):
        raise OperationRefused("No service was named.", remedy="Choose one of the stack.")
    _check(target, params)


def _check_count(target: str, params: Params) -> None:
    _check_service(target, params)
    count = params.get("instances")
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST:
        raise OperationRefused(f"A service has 1 to {MOST} instances.", remedy="Stop it to have none.")
    if count > 1 and not places.runtime().features.replicas:
        raise OperationRefused(
            "Services that are processes of this host have one instance.", remedy="Several need the runtime compose."
        )


@operation_kind("stack.recreate", title="Recreate", claims=alone, joins=_joins, check=_check_service)
def stack_recreate(ctx: Context) -> Outcome:
    """Params `service`. Its data stays; whoever takes over does it again, which harms nothing."""
    spec, service = places.stack_spec(ctx.operation.stack_name), str(ctx.params["service"])
    with ctx.step("recreate", f"Recreate {service} and wait until healthy", undoing=True), runtime_faults():
        places.runtime().recreate(spec, service, release=deployed_get(spec.project))
    return Outcome({"service": service})


@operation_kind("stack.scale", title="Scale", claims=alone, joins=_joins_count, check=_check_count)
def stack_scale(ctx: Context) -> Outcome:
    """Params `service`, `instances`: how many it is to have."""
    spec, service = places.stack_spec(ctx.operation.stack_name), str(ctx.params["service"])
    count = int(ctx.params["instances"])
    title = f"Have {count} instance{'' if count == 1 else 's'} of {service}"
    with ctx.step("scale", title, undoing=True), runtime_faults():
        places.runtime().scale(spec, service, count, release=deployed_get(spec.project))
    return Outcome({"service": service, "instances": count})
