"""`manage.py prod`: the stack in containers, with TLS."""

from __future__ import annotations

import click

from config.chosen import PRODUCTION
from config.cli.containers_up import Wanted
from config.cli.output import json_option, speaking
from config.cli.up import up_in_containers


@click.command("prod")
@click.option("--port", type=int, help="Base port; the portal is on the next one. [8080]")
@click.option("--listen", metavar="ADDRESS", help="Address of the chat and the portal. [127.0.0.1]")
@click.option("--offline", is_flag=True, help="Build every image, ask no container registry.")
@click.option("--build", is_flag=True, help="Build our images anew, after an update of the program.")
@json_option
def command(port: int | None, listen: str | None, offline: bool, build: bool, as_json: bool) -> None:
    """Start everything in containers for production: TLS with the certificates of RAGKEEP_CERTIFICATES, memory set
    aside, longer logs, and services that come back after a reboot.
    """
    with speaking(as_json=as_json) as output:
        wanted = Wanted(port=port, listen=listen, offline=offline, build=build, mode=PRODUCTION)
        up_in_containers(output, wanted)
