"""The kinds of operation there are; each app registers its own when Django starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from portal.operations.errors import OperationRefused
from portal.operations.models import Mode, State

if TYPE_CHECKING:
    from portal.operations.context import Context

Params = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ClaimOn:
    """What an operation must hold: the name of a thing, and whether others may hold it too."""

    scope: str
    mode: Mode


def exclusive(scope: str) -> ClaimOn:
    return ClaimOn(scope, Mode.EXCLUSIVE)


def shared(scope: str) -> ClaimOn:
    return ClaimOn(scope, Mode.SHARED)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a handler ended without an error."""

    result: dict[str, Any] = field(default_factory=dict)
    state: State = State.SUCCEEDED


Handler = Callable[["Context"], Outcome]
Claims = Callable[[str, Params], Sequence[ClaimOn]]


def alone(target: str, _params: Params) -> Sequence[ClaimOn]:
    """What a kind holds that has its target to itself."""
    return [exclusive(target)]


def unclaimed(_target: str, _params: Params) -> Sequence[ClaimOn]:
    """What a kind holds that only looks."""
    return []


def _no_params(_target: str, _params: Params) -> str:
    return ""


def _nothing_to_check(_target: str, _params: Params) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of operation.

    Attributes:
        claims: what it holds while it is active, from its target and parameters.
        joins: what besides kind and target makes a second trigger the same as an active one.
        check: raises OperationRefused before a row is made, e.g. for a set that does not exist.
    """

    name: str
    title: str
    claims: Claims
    handler: Handler
    joins: Callable[[str, Params], str] = _no_params
    check: Callable[[str, Params], None] = _nothing_to_check

    def join_key(self, target: str, params: Params) -> str:
        return f"{self.name} {target} {self.joins(target, params)}".strip()


_kinds: dict[str, Kind] = {}


def operation_kind(
    name: str,
    *,
    title: str,
    claims: Claims,
    joins: Callable[[str, Params], str] = _no_params,
    check: Callable[[str, Params], None] = _nothing_to_check,
) -> Callable[[Handler], Handler]:
    """Register the decorated handler as the kind `name`."""

    def register(handler: Handler) -> Handler:
        _kinds[name] = Kind(name, title, claims, handler, joins, check)
        return handler

    return register


def kind_get(name: str) -> Kind:
    """The kind called `name`.

    Raises:
        OperationRefused: nobody registered it.
    """
    try:
        return _kinds[name]
    except KeyError:
        known = ", ".join(sorted(_kinds))
        raise OperationRefused(f"There is no operation called {name!r}.", remedy=f"Known are: {known}.") from None


def kind_title(name: str) -> str:
    """A title for people, also of a kind that no longer exists."""
    kind = _kinds.get(name)
    return kind.title if kind else name
