"""Ask the restored service the set's own questions and compare what it finds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from backups.manifest import Manifest, Question
from backups.restore.errors import CanaryFailed, CanaryUnreached
from backups.secret import Secret

# Approximate search and other processors differ a little: equality would undo good restores.
REST_NEEDED = 0.9
# What must not be fewer than in the set; documents that were on their way may have become ready since.
COUNTED = ("users", "documents", "chunks")
# How many times as many hits are asked for where newer passages may lie between those of the set.
_ROOM = 3

NearestIds = list[list[str]]


@dataclass(frozen=True, slots=True)
class Api:
    """The internal side of the stack's RAG service."""

    client: httpx.Client

    @classmethod
    @contextmanager
    def at(cls, url: str, token: Secret, seconds: float = 60) -> Iterator[Api]:
        headers = {"Authorization": f"Bearer {token.reveal()}"}
        with httpx.Client(base_url=url, headers=headers, timeout=seconds, trust_env=False) as client:
            yield cls(client)

    def nearest(self, collection: str, vectors: Sequence[Sequence[float]], k: int) -> NearestIds:
        """Ids of the `k` chunks nearest to each vector, nearest first.

        Raises:
            CanaryUnreached: no answer, or one that cannot be understood.
        """
        body = {"collection": collection, "vectors": [list(vector) for vector in vectors], "k": k}
        answer = self._json(self._send("POST", "/internal/nearest", body))
        found = answer.get("chunk_ids")
        if not isinstance(found, list) or len(found) != len(vectors):
            raise CanaryUnreached("the service answered a canary question without chunk_ids")
        return [[str(chunk) for chunk in chunks] for chunks in found]

    def search(self, question: str, k: int) -> tuple[list[tuple[str, str]], bool]:
        """Name and id of the documents of the `k` best passages for a question, and whether any is about it.

        Raises:
            CanaryUnreached: no answer, or one that cannot be understood.
        """
        answer = self._json(self._send("POST", "/internal/search", {"question": question, "k": k}))
        try:
            return [(str(hit["document"]), str(hit["document_id"])) for hit in answer["hits"]], bool(answer["found"])
        except (KeyError, TypeError):
            raise CanaryUnreached("the service answered a question without its documents") from None

    def counts(self) -> dict[str, int]:
        """Rows of the service: users, documents, chunks, ..."""
        answer = self._json(self._send("GET", "/internal/counts"))
        return {str(name): value for name, value in answer.items() if isinstance(value, int)}

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        try:
            return self.client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise CanaryUnreached(f"the service does not answer at {path}: {error or type(error).__name__}") from None

    def _json(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            value = answer.raise_for_status().json()
        except (httpx.HTTPStatusError, ValueError):
            raise CanaryUnreached(
                f"the service answered {answer.request.url.path} with status {answer.status_code}"
            ) from None
        if not isinstance(value, dict):
            raise CanaryUnreached(f"the service answered {answer.request.url.path} with something else than an object")
        return value


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well the retrieved chunks agree with the set's.

    Attributes:
        questions: how many were asked.
        first_hits: of how many the first hit is the expected one.
        rest_expected: other expected hits, of all questions together.
        rest_found: how many of those were found, at any place.
        differing: the first questions (their place in the set) whose first hit differs.
    """

    questions: int
    first_hits: int
    rest_expected: int
    rest_found: int
    differing: tuple[int, ...] = ()

    @property
    def rest(self) -> float:
        """Fraction of the other expected hits that were found; 1 when none was expected."""
        return self.rest_found / self.rest_expected if self.rest_expected else 1.0

    @property
    def passed(self) -> bool:
        return self.first_hits == self.questions and self.rest >= REST_NEEDED

    def to_json(self) -> dict[str, Any]:
        return {
            "questions": self.questions,
            "first_hits": self.first_hits,
            "rest": round(self.rest, 4),
            "differing": list(self.differing),
            "passed": self.passed,
        }


def agreement(expected: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> Agreement:
    """Compare hits question by question; both nearest first."""
    first = rest_expected = rest_found = 0
    differing: list[int] = []
    for place, (wanted, got) in enumerate(zip(expected, found, strict=True)):
        same = list(wanted[:1]) == list(got[:1])
        first += same
        differing += [] if same else [place]
        rest_expected += len(wanted[1:])
        rest_found += len(set(wanted[1:]) & set(got))
    return Agreement(len(expected), first, rest_expected, rest_found, tuple(differing[:10]))


def ask(api: Api, questions: Sequence[Question], times: int = 1) -> list[list[str]]:
    """What the service finds for each question, in their order; `times` as many as the set names."""
    found: dict[int, list[str]] = {}
    for (collection, k), places in _grouped(questions).items():
        vectors = [questions[place].vector for place in places]
        found.update(zip(places, api.nearest(collection, vectors, k * times), strict=True))
    return [found[place] for place in range(len(questions))]


def check_among_others(api: Api, manifest: Manifest, served: Container[str]) -> dict[str, Any]:
    """Ask the canary's questions of a service that holds less than the set, or more.

    Only passages of the set that are still served are compared: in their order, whatever newer ones lie between them.

    Args:
        served: ids of all passages that the service may find.

    Returns:
        `canary` and `counts` as `check` does.

    Raises:
        CanaryUnreached, CanaryFailed: as `check`.
    """
    expected = [[chunk for chunk in question.nearest if chunk in served] for question in manifest.canary]
    found = [
        [chunk for chunk in chunks if chunk in wanted]
        for chunks, wanted in zip(ask(api, manifest.canary, times=_ROOM), map(set, expected), strict=True)
    ]
    outcome = agreement(expected, found)
    report: dict[str, Any] = {"canary": outcome.to_json(), "counts": api.counts(), "short": []}
    return _passed(outcome, report)


def check(api: Api, manifest: Manifest) -> dict[str, Any]:
    """Ask the canary's questions and compare counts.

    Returns:
        `canary` (see Agreement), `counts` of the service, `short` (names whose count is below the set's).

    Raises:
        CanaryUnreached: the service does not answer.
        CanaryFailed: it finds other chunks, or holds fewer rows; figures in `data`.
    """
    counts = api.counts()
    outcome = agreement([question.nearest for question in manifest.canary], ask(api, manifest.canary))
    short = short_counts(counts, manifest.counts)
    report: dict[str, Any] = {"canary": outcome.to_json(), "counts": counts, "short": short}
    _passed(outcome, report)
    if short:
        raise CanaryFailed(f"the service holds fewer {', '.join(short)} than the set", **report)
    return report


def _passed(outcome: Agreement, report: dict[str, Any]) -> dict[str, Any]:
    if not outcome.passed:
        raise CanaryFailed(
            f"of {outcome.questions} canary questions {outcome.first_hits} have the same first hit, "
            f"of the other hits {outcome.rest:.0%} were found",
            **report,
        )
    return report


def short_counts(found: Mapping[str, int], wanted: Mapping[str, int]) -> list[str]:
    return [name for name in COUNTED if name in found and name in wanted and found[name] < wanted[name]]


def _grouped(questions: Iterable[Question]) -> dict[tuple[str, int], list[int]]:
    """Places of the questions that can be asked in one request: same collection, same number of hits."""
    groups: dict[tuple[str, int], list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        groups[(question.collection, len(question.nearest))].append(place)
    return groups
