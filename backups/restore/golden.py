"""Asking a drill's questions in words, and judging what is retrieved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backups.manifest import Golden
from backups.restore.canary import Api

HITS = 8
# A sentence out of a document may be outdone by others that say the same; an operator's question may not.
OWN_NEEDED = 0.9
NAMED = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: the documents of which one must be found, and the names of what was found, best first."""

    question: str
    expected: tuple[str, ...]
    retrieved: tuple[str, ...]
    ok: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "question": self.question,
            "expected": list(self.expected),
            "retrieved": list(self.retrieved),
            "ok": self.ok,
        }


def ask(api: Api, golden: Golden, *, every: bool) -> Asked:
    """Ask one question. `every`: each expected document must be found; otherwise one of them.

    A question that expects no document must find something that is about it.

    Raises:
        CanaryUnreached: the service does not answer.
    """
    hits, found = api.search(golden.question, HITS)
    names = tuple(dict.fromkeys(name for name, _ in hits))
    known = {*names, *(document for _, document in hits)}
    wanted = set(golden.documents)
    ok = (wanted <= known if every else bool(wanted & known)) if wanted else found
    return Asked(golden.question, golden.documents, names, ok)


def report(api: Api, operators: Sequence[Golden], own: Sequence[Golden]) -> dict[str, Any]:
    """Ask the operator's questions, or where there are none the set's own.

    Returns:
        `by` (operator or set), `questions`, `found`, `passed`, and `asked`: the first twenty, those that failed first.

    Raises:
        CanaryUnreached: the service does not answer.
    """
    by_operator = bool(operators)
    asked = [ask(api, golden, every=by_operator) for golden in operators or own]
    found = sum(one.ok for one in asked)
    needed = len(asked) if by_operator else OWN_NEEDED * len(asked)
    told = sorted(asked, key=lambda one: one.ok)[:NAMED]
    return {
        "by": "operator" if by_operator else "set",
        "questions": len(asked),
        "found": found,
        "passed": found >= needed,
        "asked": [one.to_json() for one in told],
    }
