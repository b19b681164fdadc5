"""`manage.py questions`: what every drill asks."""

from __future__ import annotations

from typing import Any

import click

from config.cli.listing import listing_group
from config.cli.operations import connect, default_stack
from config.cli.output import Output, UserError, json_option, speaking


@listing_group("questions", "Set the questions that every drill asks; alone, list them.")
def command(output: Output) -> None:
    """List the questions and the documents that must be found."""
    connect()
    from portal.vaults.golden import question_list

    found = [_described(row) for row in question_list(stack=default_stack().name)]
    lines = [f"{row['number']:>4}  {row['question']}\n      {_wanted(row['expected'])}" for row in found]
    nothing = "no question of yours: a drill asks sentences out of the set's own documents"
    output.result({"questions": found}, "\n".join(lines) or nothing)


@command.command("add")
@click.argument("question")
@click.option("--expect", "expected", multiple=True, metavar="FILE", help="A document that must be found, by name.")
@json_option
def add_command(question: str, expected: tuple[str, ...], as_json: bool) -> None:
    """Have every drill ask QUESTION. Without --expect anything that is about it will do."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.golden import question_add

        made = question_add(stack=default_stack().name, question=question, expected=expected)
        output.result(_described(made), f"question {made.pk}: every drill asks this from now on")


@command.command("try")
@click.argument("question")
@json_option
def try_command(question: str, as_json: bool) -> None:
    """Show the documents that the running stack finds for QUESTION."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.golden import question_try

        found = question_try(stack=default_stack().name, question=question)
        output.result({"question": question, "documents": found}, "\n".join(found) or "nothing is found")


@command.command("remove")
@click.argument("number", type=int)
@json_option
def remove_command(number: int, as_json: bool) -> None:
    """Have drills ask the question with this NUMBER no more."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.golden import question_remove
        from portal.vaults.models import GoldenQuestion

        found = GoldenQuestion.objects.filter(pk=number).first()
        if found is None:
            raise UserError(f"there is no question {number}", "manage.py questions lists them", "no_question")
        question_remove(question=found)
        output.result({"removed": number}, "drills ask this no more")


def _wanted(expected: list[str]) -> str:
    return f"must find {', '.join(expected)}" if expected else "must find something that is about it"


def _described(row: Any) -> dict[str, Any]:  # noqa: ANN401 - a GoldenQuestion, whose module needs Django
    return {"number": row.pk, "question": row.question, "expected": row.expected}
