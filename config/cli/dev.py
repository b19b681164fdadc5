"""`manage.py dev`: the stack in containers that follow the checkout's source."""

from __future__ import annotations

import click

from config.chosen import DEVELOPMENT
from config.cli.containers_up import Wanted
from config.cli.output import json_option, speaking
from config.cli.up import up_in_containers


@click.command("dev")
@click.option("--port", type=int, help="Base port; the portal is on the next one. [8080]")
@click.option("--offline", is_flag=True, help="Build every image, ask no container registry.")
@click.option("--build", is_flag=True, help="Build our images anew.")
@json_option
def command(port: int | None, offline: bool, build: bool, as_json: bool) -> None:
    """Start everything in containers for work on the program: api, ingest and chat reload when their source changes.

    Logs say more, and PostgreSQL and Chroma answer on loopback. The images are built for development.
    """
    with speaking(as_json=as_json) as output:
        up_in_containers(output, Wanted(port=port, offline=offline, build=build, mode=DEVELOPMENT))
