"""The RAG service as the chat sees it: typed answers, one exception with a sentence for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import httpx

from frontend.sse import events

Json = dict[str, Any]
# An answer of a small model on two cores can take a while before its first word.
READ_SECONDS = 300.0


class ServiceError(Exception):
    """The service refused or cannot be reached; the text is a sentence for the person in front of the screen."""

    def __init__(self, message: str, *, code: str = "unreachable", status: int | None = None) -> None:
        self.code = code
        self.status = status
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Source:
    """A passage the model was given: `n` is the number it is cited by, `page` None where the format has no pages."""

    n: int
    document: str
    page: int | None
    heading: str
    passage: str
    cited: bool

    @classmethod
    def from_json(cls, data: Json) -> Source:
        return cls(
            int(data["n"]),
            data["document"],
            data.get("page"),
            data.get("heading") or "",
            data["passage"],
            bool(data.get("cited")),
        )

    @property
    def place(self) -> str:
        """Where in the document: page and heading, as far as they are known."""
        return " · ".join(part for part in (f"page {self.page}" if self.page else "", self.heading) if part)


@dataclass(slots=True)
class Answer:
    """An answer while it arrives: `sources` first, then `text` piece by piece; `done` when it is whole."""

    text: str = ""
    sources: list[Source] = field(default_factory=list)
    conversation_id: str | None = None
    found: bool = True
    done: bool = False


class Service:
    """Client of the RAG service for one signed-in person."""

    def __init__(self, url: str, token: str | None = None, transport: httpx.BaseTransport | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = httpx.Timeout(10.0, read=READ_SECONDS, write=READ_SECONDS)
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, transport=transport)

    def sign_in(self, email: str, password: str) -> Json:
        """Return {token, expires_at, user}."""
        return self._json("POST", "/api/session", json={"email": email, "password": password})

    def sign_out(self) -> None:
        self._json("DELETE", "/api/session")

    def me(self) -> Json:
        return self._json("GET", "/api/me")

    def bases(self) -> list[Json]:
        answer = self._json("GET", "/api/bases")
        found: list[Json] = answer["bases"]
        return found

    def documents(self, *, limit: int, after: int | None = None, state: str | None = None, name: str = "") -> Json:
        """Return {documents, counts, next}: one page of the list, newest first, of names that contain `name`."""
        wanted = {"after": after, "limit": limit, "state": state, "name": name}
        return self._json("GET", "/api/documents", params={k: v for k, v in wanted.items() if v})

    def upload(self, name: str, content: IO[bytes], base: str | None = None) -> Json:
        data = {"base": base} if base else {}
        return self._json("POST", "/api/documents", files={"file": (name, content)}, data=data)

    def content(self, document_id: str) -> bytes:
        """The file as it was uploaded."""
        return self._request("GET", f"/api/documents/{document_id}/content").content

    def delete(self, document_id: str) -> None:
        self._json("DELETE", f"/api/documents/{document_id}")

    def retry(self, document_id: str) -> None:
        self._json("POST", f"/api/documents/{document_id}/retry")

    def conversations(self) -> list[Json]:
        answer = self._json("GET", "/api/conversations")
        found: list[Json] = answer["conversations"]
        return found

    def conversation(self, conversation_id: str) -> Json:
        return self._json("GET", f"/api/conversations/{conversation_id}")

    def forget(self, conversation_id: str) -> None:
        self._json("DELETE", f"/api/conversations/{conversation_id}")

    def ask(self, question: str, answer: Answer, base: str | None = None) -> Iterator[str]:
        """Yield the words of the answer as they come, filling `answer` on the way.

        Raises:
            ServiceError: the service refused, failed half-way, or cannot be reached.
        """
        body = {"question": question, "stream": True, "conversation_id": answer.conversation_id, "base": base}
        try:
            with self._http.stream("POST", "/api/ask", json={k: v for k, v in body.items() if v}) as response:
                if response.is_error:
                    response.read()
                    raise _refusal(response)
                for event in events(response.iter_lines()):
                    yield from _take(event.name, json.loads(event.data), answer)
        except httpx.HTTPError as error:
            raise _unreachable(error) from None

    def _json(self, method: str, path: str, **arguments: Any) -> Json:  # noqa: ANN401 - httpx's own argument types
        response = self._request(method, path, **arguments)
        answer: Json = response.json() if response.content else {}
        return answer

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:  # noqa: ANN401 - as above
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise _unreachable(error) from None
        if response.is_error:
            raise _refusal(response)
        return response


def _take(name: str, data: Json, answer: Answer) -> Iterator[str]:
    if name == "sources":
        _fill(answer, data)
    elif name == "token":
        answer.text += data["text"]
        yield data["text"]
    elif name == "done":
        _fill(answer, data)
        answer.text, answer.done = data["answer"], True
    elif name == "error":
        raise ServiceError(data["message"], code=data["code"])


def _fill(answer: Answer, data: Json) -> None:
    answer.sources = [Source.from_json(item) for item in data["sources"]]
    answer.found = bool(data["found"])
    answer.conversation_id = data["conversation_id"]


def _refusal(response: httpx.Response) -> ServiceError:
    try:
        error = response.json()["error"]
        return ServiceError(error["message"], code=error["code"], status=response.status_code)
    except (ValueError, KeyError, TypeError):
        sentence = (
            f"The service answered with status {response.status_code}. Try again; if it stays, tell the operator."
        )
        return ServiceError(sentence, code="unexpected", status=response.status_code)


def _unreachable(error: httpx.HTTPError) -> ServiceError:
    reason = "took too long to answer" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
    return ServiceError(f"The service {reason}. It may be restarting or being restored: try again in a minute.")
