"""The settings of a stack as an operator sees and changes them; what is changed waits for the next deploy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import yaml
from django.contrib.auth.models import User

from portal.core import places
from portal.core.services import audit
from portal.operations.errors import InputInvalid
from portal.runtime.errors import StackFileError
from portal.stacks.models import Stack
from portal.stacks.pending import pending_change, pending_drop, pending_get
from portal.stacks.variables import HIDDEN, Variable, masked, replaced, variables, wrong


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
    """
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
    """
    known = {setting.variable.name: setting for setting in setting_list(stack)}
    meant = {name: value for name, value in values.items() if name in known and value != known[name].entered}
    faults = {name: sentence for name, value in meant.items() if (sentence := _wrong(name, value))}
    if faults:
        raise InputInvalid(faults)
    now = _current(stack)
    taken_back = {name: value for name, value in meant.items() if value == now.get(name, "")}
    changed = {name: value for name, value in meant.items() if name not in taken_back}
    before = pending_get(stack.name)
    pending_drop(stack=stack.name, names={name: before[name] for name in taken_back if name in before})
    if changed:
        pending_change(stack=stack.name, values=changed, user=user)
    return sorted(pending_get(stack.name))


def _wrong(name: str, value: str) -> str:
    return "Type the password again: it is not shown here." if HIDDEN in value else wrong(name, value)


def settings_forget(*, stack: Stack, user: User | None = None) -> None:
    """Change nothing with the next deploy after all."""
    audit(action="stack.settings_forgotten", target=stack.target, user=user, data={"names": [*pending_get(stack.name)]})
    pending_drop(stack=stack.name)


def services_replaced(stack: Stack) -> list[str]:
    """The services that the next deploy replaces because of what waits."""
    return replaced(_variables(stack), pending_get(stack.name))


def _current(stack: Stack) -> dict[str, str]:
    return places.given_settings(places.location(places.stack_spec(stack.name)))


def _variables(stack: Stack) -> list[Variable]:
    spec, containers = places.stack_spec(stack.name), places.runtime().features.images
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
