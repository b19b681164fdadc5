"""`manage.py updates`: whether registries have newer images than those that serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from config.cli.operations import connect, default_stack, run_started
from config.cli.output import Output, UserError, json_option, speaking

if TYPE_CHECKING:
    from portal.stacks.models import Stack


@click.command("updates")
@click.option("--stack", "name", metavar="NAME", help="Another stack than the product's own.")
@click.option("--last", is_flag=True, help="Show what the last look found; ask no registry.")
@click.option("--daily", type=click.Choice(["on", "off"]), help="Look once a day by itself, or only when asked to.")
@json_option
def command(name: str | None, last: bool, daily: str | None, as_json: bool) -> None:
    """Ask the registries of the images that serve what they have by now. Changes nothing of the stack."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.stacks.updates.services import updates_switch

        stack = _chosen(name)
        if daily:
            updates_switch(stack=stack, daily=daily == "on")
        if not (last or daily):
            _look(output, stack)
        fields = _found(stack)
        output.result(fields, "\n".join(lines(fields)))


def _chosen(name: str | None) -> Stack:
    from portal.stacks.models import Stack

    if name is None:
        return default_stack()
    found = Stack.objects.filter(name=name).first()
    if found is None:
        raise UserError(f"there is no stack called {name}", "python3 manage.py stacks lists them", "no_stack")
    return found


def _look(output: Output, stack: Stack) -> None:
    from portal.operations.services import operation_start
    from portal.stacks.updates.services import KIND

    output.step("asking the registries of the images")
    run_started(output, lambda: operation_start(kind=KIND, target=stack.target))


def _found(stack: Stack) -> dict[str, Any]:
    from portal.stacks.updates.selectors import updates_of, updates_summary

    found = updates_of(stack)
    if found is None:
        raise UserError("services that are processes of this host have no images", "", "no_images")
    return updates_summary(stack, found)


def lines(fields: dict[str, Any]) -> list[str]:
    """What was found, for people."""
    daily = "once a day" if fields["daily"] else "only when asked to"
    if not fields["looked_at"]:
        return [f"nobody has looked yet; registries are asked {daily}"]
    told = [line for image in fields["images"] for line in _image_lines(image)]
    count = fields["newer"]
    ending = "nothing is newer" if not count else f"{count} image{' has' if count == 1 else 's have'} something newer"
    return [*told, "", f"{ending}; as of {fields['looked_at'][:16]}, looked at {daily}"]


def _image_lines(image: dict[str, Any]) -> list[str]:
    words = {"local": "built or loaded here, no registry is asked", "current": "current", "unknown": "not known"}
    found = [f"{image['image']}  ({', '.join(image['services'])})  {words.get(image['condition'], '')}".rstrip()]
    if image["newer_digest"]:
        found.append("  newer under the same name: `manage.py deploy --pull` takes it")
    if image["newer_tag"]:
        named = f"set {image['setting']} to that and deploy" if image["setting"] else "name it in the stack's file"
        found.append(f"  newer version {image['newer_tag']}: {named}")
    if image["newer_digest"] or image["newer_tag"]:
        found += [f"  stands still for a moment: {', '.join(image['interrupted'])}"] if image["interrupted"] else []
        found += [f"  data is touched: {why}" for why in image["touches"]]
    if image["fault"]:
        found.append(f"  {image['fault']}")
    return found
