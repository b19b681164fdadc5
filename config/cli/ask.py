"""`manage.py ask`: one question, an answer from the documents, and where it comes from."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import httpx

from config.cli.client import Access, access_options, base_id, call, checked, signed_in, unreachable
from config.cli.output import Output, UserError, json_option, speaking


@click.command("ask")
@click.argument("question")
@click.option("--base", help="Ask one knowledge base only, by name or id.")
@access_options
@json_option
def command(
    question: str,
    base: str | None,
    url: str | None,
    email: str | None,
    password_file: Path | None,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Ask QUESTION of the documents; the answer cites its sources."""
    began = time.monotonic()
    with speaking(as_json=as_json) as output, ExitStack() as open_:
        if not question.strip():
            raise UserError("the question is empty", 'like this: ask "How often is the pump greased?"', "usage")
        client = open_.enter_context(signed_in(Access(url, email, password_file, key_file)))
        asked = {"question": question, "base": base_id(client, base)}
        output.step("asking")
        answer = call(client, "POST", "/api/ask", json=asked) if as_json else _show(client, asked, output)
        seconds = round(time.monotonic() - began, 2)
        fields = {"question": question, **answer, "seconds": seconds}
        output.result(fields, _sources(answer["sources"], seconds))


def _show(client: httpx.Client, asked: dict[str, Any], output: Output) -> dict[str, Any]:
    """Write the answer to standard output as it comes, and return the whole of it."""
    try:
        with client.stream("POST", "/api/ask", json={**asked, "stream": True}) as response:
            if response.is_error:
                response.read()
                checked(response)
            for name, data in _events(response.iter_lines()):
                if name == "done":
                    sys.stdout.write("\n")
                    return data
                if name == "error":
                    raise UserError(data["message"], code=data["code"])
                if name == "token":
                    output.done()
                    sys.stdout.write(data["text"])
                    sys.stdout.flush()
    except httpx.TransportError as error:
        raise unreachable(client, error) from error
    raise UserError("the answer broke off", "ask again; see manage.py logs api when it stays so")


def _events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def _sources(sources: list[dict[str, Any]], seconds: float) -> str:
    lines = [f"\nSources ({seconds:g} s):" if sources else ""]
    for source in sources:
        page = f", page {source['page']}" if source["page"] else ""
        passage = " ".join(source["passage"].split())
        lines.append(
            f"  [{source['n']}] {source['document']}{page}: {passage[:160]}{'...' if len(passage) > 160 else ''}"
        )
    return "\n".join(lines)
