"""The settings of a stack as an operator sees and changes them; what is changed waits for the next deploy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import yaml
from django.contrib.auth.models import User

from portal.core import places
from portal.core.services import audit
from portal.operations.asking import by_worker
from portal.operations.errors import InputInvalid
from portal.operations.faults import runtime_faults
from portal.runtime.errors import StackFileError
from portal.stacks.models import Stack
from portal.stacks.pending import is_project, pending_change, pending_drop, pending_get
from portal.stacks.projects.secretfiles import hand_over, taken
from portal.stacks.projects.variables import project_variables
from portal.stacks.variables import HIDDEN, Variable, masked, replaced, variables, wrong

PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its value as it may be shown (empty: the default), and what waits for the next deploy, None when
    nothing does."""

    variable: Variable
    shown: str
    waits: str | None

    @property
    def entered(self) -> str:
        """What a form begins with."""
        return self.shown if self.waits is None else self.waits


def setting_list(stack: Stack) -> list[Setting]:
    """Every setting that the stack's file takes, in its order.

    Raises:
        StackFileError: the file is not valid.
        OperationFailed: the same of somebody else's project, which the worker reads.
    """
    if not is_project(stack.name):
        return _settings(stack)
    return [Setting(Variable(**row["variable"]), row["shown"], row["waits"]) for row in _rows(stack=stack.name)]


@by_worker(patience=PATIENCE_SECONDS)
def _rows(*, stack: str) -> list[dict[str, Any]]:
    with runtime_faults():
        return [asdict(row) for row in _settings(Stack.objects.get(name=stack))]


def _settings(stack: Stack) -> list[Setting]:
    now, waits = _current(stack), pending_get(stack.name)
    return [
        Setting(
            one,
            masked(one, now.get(one.name, "")),
            masked(one, waits[one.name]) if one.name in waits else None,
        )
        for one in _variables(stack)
    ]


def settings_change(*, stack: Stack, values: Mapping[str, str], user: User | None = None) -> list[str]:
    """Have the next deploy set these; one that is given as it was shown stays as it is, an empty one means the default.

    Returns:
        The names of those whose value after the next deploy is another than now.

    Raises:
        InputInvalid: a value cannot be; nothing is kept.
        OperationFailed: the worker, which keeps those of somebody else's project, is not there.
    """
    known = {setting.variable.name: setting for setting in setting_list(stack)}
    meant = {name: value for name, value in values.items() if name in known and value != known[name].entered}
    faults = {name: sentence for name, value in meant.items() if (sentence := _wrong(known[name].variable, value))}
    if faults:
        raise InputInvalid(faults)
    if not is_project(stack.name):
        return _keep(stack, meant, user)
    handed = hand_over(json.dumps(meant))
    try:
        return _keep_handed(stack=stack.name, handed=handed.name, user=user.pk if user else 0)
    finally:
        handed.unlink(missing_ok=True)


@by_worker(patience=PATIENCE_SECONDS)
def _keep_handed(*, stack: str, handed: str, user: int) -> list[str]:
    found, meant = Stack.objects.get(name=stack), json.loads(taken(handed))
    with runtime_faults():
        # Whatever else was handed over: what no file takes could reach Docker's own programs.
        names = {one.name for one in _variables(found)}
    kept = {name: str(value) for name, value in meant.items() if name in names}
    return _keep(found, kept, User.objects.filter(pk=user).first())


def _keep(stack: Stack, meant: Mapping[str, str], user: User | None) -> list[str]:
    now = _current(stack)
    taken_back = {name: value for name, value in meant.items() if value == now.get(name, "")}
    changed = {name: value for name, value in meant.items() if name not in taken_back}
    before = pending_get(stack.name)
    pending_drop(stack=stack.name, names={name: before[name] for name in taken_back if name in before})
    if changed:
        pending_change(stack=stack.name, values=changed, user=user)
    return sorted(pending_get(stack.name))


def _wrong(variable: Variable, value: str) -> str:
    if HIDDEN in value:
        return "Type the password again: it is not shown here."
    return wrong(variable.name, value, known=variable.known)


def settings_forget(*, stack: Stack, user: User | None = None) -> None:
    """Change nothing with the next deploy after all."""
    forget = _forget_there if is_project(stack.name) else _forget
    forget(stack=stack.name, user=user.pk if user else 0)


def _forget(*, stack: str, user: int) -> None:
    account = User.objects.filter(pk=user).first()
    audit(
        action="stack.settings_forgotten", target=f"stack:{stack}", user=account, data={"names": [*pending_get(stack)]}
    )
    pending_drop(stack=stack)


_forget_there = by_worker(patience=PATIENCE_SECONDS)(_forget)


def waiting(found: Sequence[Setting]) -> list[Setting]:
    """Those that the next deploy changes."""
    return [setting for setting in found if setting.waits is not None]


def services_replaced(stack: Stack) -> list[str]:
    """The services that the next deploy replaces because of what waits."""
    return replaced_by(setting_list(stack))


def replaced_by(found: Sequence[Setting]) -> list[str]:
    """The same of settings that were read already."""
    names = [setting.variable.name for setting in waiting(found)]
    return replaced([setting.variable for setting in found], names)


def _current(stack: Stack) -> dict[str, str]:
    return places.given_settings(places.location(places.stack_spec(stack.name)))


def _variables(stack: Stack) -> list[Variable]:
    spec, containers = places.stack_spec(stack.name), places.runtime().features.images
    if spec.foreign is not None:
        return project_variables(spec)
    # Overlays add what containers alone take; the first file says what a variable is when it stands nowhere.
    files = [spec.file, *(spec.overlays if containers else ())]
    found: dict[str, Variable] = {}
    for file in files:
        try:
            tree = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError):
            raise StackFileError(str(file), "expected a Compose file") from None
        for one in variables(tree, containers=containers):
            known = found.setdefault(one.name, one)
            users = tuple(dict.fromkeys((*known.services, *one.services)))
            found[one.name] = Variable(one.name, known.default or one.default, users)
    return list(found.values())
