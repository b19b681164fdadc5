"""Groups of verbs that list when they are called alone, and by their subcommand `list`."""

from __future__ import annotations

from collections.abc import Callable

import click

from config.cli.output import Output, json_option, speaking

Lister = Callable[[Output], None]


def listing_group(name: str, about: str) -> Callable[[Lister], click.Group]:
    """Make the group `name` of the decorated function, which says what there is; its docstring is the help of `list`,
    `about` that of the group."""

    def decorate(lister: Lister) -> click.Group:
        @click.group(name, help=about, invoke_without_command=True)
        @json_option
        @click.pass_context
        def group(ctx: click.Context, as_json: bool) -> None:
            if ctx.invoked_subcommand is None:
                with speaking(as_json=as_json) as output:
                    lister(output)

        @group.command("list", help=lister.__doc__)
        @json_option
        def list_command(as_json: bool) -> None:
            with speaking(as_json=as_json) as output:
                lister(output)

        return group

    return decorate
