"""The operator's own questions: every drill of a stack asks them of what it brought back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
from django.contrib.auth.models import User
from django.db import transaction

from backups.secret import Secret
from portal.core import places
from portal.core.services import audit
from portal.operations.asking import by_worker
from portal.operations.errors import InputInvalid, OperationFailed
from portal.vaults.models import GoldenQuestion

# As the RAG service takes them.
MAX_CHARS = 2000
HITS = 8
TIMEOUT = httpx.Timeout(60, connect=5)


def question_add(
    *, stack: str, question: str, expected: Sequence[str] = (), user: User | None = None
) -> GoldenQuestion:
    """Have every drill ask a question. `expected`: names of documents that must all be retrieved; none: anything that
    is about it.

    Raises:
        InputInvalid: it is empty, too long, or asked already.
    """
    text, names = question.strip(), [name.strip() for name in expected if name.strip()]
    if not text or len(text) > MAX_CHARS:
        raise InputInvalid({"question": f"Write a question of at most {MAX_CHARS} characters."})
    if GoldenQuestion.objects.filter(stack=stack, question=text).exists():
        raise InputInvalid({"question": "Drills ask this already."})
    if len(names) > HITS:
        raise InputInvalid({"expected": f"A question retrieves {HITS} passages; name at most {HITS} documents."})
    with transaction.atomic():
        made = GoldenQuestion.objects.create(stack=stack, question=text, expected=names, created_by=user)
        audit(action="question.added", target=f"stack:{stack}", user=user, data={"question": text, "expected": names})
    return made


def question_remove(*, question: GoldenQuestion, user: User | None = None) -> None:
    """Have drills ask it no more."""
    with transaction.atomic():
        GoldenQuestion.objects.filter(pk=question.pk).delete()
        data = {"question": question.question}
        audit(action="question.removed", target=f"stack:{question.stack}", user=user, data=data)


def question_list(*, stack: str) -> list[GoldenQuestion]:
    """The questions of a stack, in the order in which they were added."""
    return list(GoldenQuestion.objects.filter(stack=stack))


def questions_of_drill(stack: str) -> list[dict[str, Any]]:
    """As the agent takes them."""
    return [{"question": row.question, "documents": row.expected} for row in question_list(stack=stack)]


@by_worker(patience=70.0)
def question_try(*, stack: str, question: str) -> list[str]:
    """Names of the documents that the running stack retrieves for a question, best first, over all bases.

    Raises:
        OperationFailed: the stack does not answer.
    """
    here = places.location(places.stack_spec(stack))
    token = Secret.from_file(here.secret("internal_token")).reveal()
    try:
        answer = httpx.post(
            f"{here.url('api')}/internal/search",
            json={"question": question.strip(), "k": HITS},
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT,
        ).raise_for_status()
        return list(dict.fromkeys(str(hit["document"]) for hit in answer.json()["hits"]))
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise OperationFailed(
            f"The stack {stack} did not answer the question ({type(error).__name__}).",
            remedy="`python3 manage.py status` shows whether its services are healthy.",
        ) from None
