"""`manage.py alarms`: what is wrong, and who is told of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from config.cli.given import file_option, text_of
from config.cli.listing import listing_group
from config.cli.operations import connect
from config.cli.output import Output, UserError, json_option, speaking

if TYPE_CHECKING:
    from portal.alarms.models import Channel


@listing_group("alarms", "Show what is wrong and who is told of it; alone, list the alarms.")
def command(output: Output) -> None:
    """List what is wrong now. Exit status 0 also when something is."""
    connect()
    from portal.alarms.conditions import conditions_now

    found = [
        {
            "key": condition.key,
            "severity": str(condition.severity),
            "title": condition.title,
            "remedy": condition.remedy,
            "operation": str(condition.operation.pk) if condition.operation else None,
        }
        for condition in conditions_now()
    ]
    lines = [f"{alarm['severity']:<8} {alarm['title']}\n{'':<9}what to do: {alarm['remedy']}" for alarm in found]
    output.result({"alarms": found}, "\n".join(lines) or "nothing is wrong")


@command.command("channels")
@json_option
def channels_command(as_json: bool) -> None:
    """List the channels that are told of alarms; their addresses are masked."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.alarms.channels import masked_address
        from portal.alarms.selectors import channel_list

        found = [_described(channel, masked_address(channel)) for channel in channel_list()]
        output.result({"channels": found}, "\n".join(map(_row, found)) or "no channel yet: alarms show in the portal")


@command.command("add-channel")
@click.argument("name")
@click.option("--url-file", type=file_option, required=True, metavar="FILE", help="File with the Apprise address.")
@click.option("--only-bad", is_flag=True, help="Tell it of what is bad, not of mere warnings.")
@json_option
def add_command(name: str, url_file: Path, only_bad: bool, as_json: bool) -> None:
    """Tell NAME of alarms: mail, a webhook, a chat. The address comes from a file because it may hold a password."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.alarms.channels import channel_add, masked_address

        added = channel_add(name=name, url=text_of(url_file), least="bad" if only_bad else "warning")
        text = f"{name} is told of alarms from now on; try it: manage.py alarms test-channel {name}"
        output.result(_described(added, masked_address(added)), text)


@command.command("test-channel")
@click.argument("name")
@json_option
def test_command(name: str, as_json: bool) -> None:
    """Send a message through NAME. Exit status 0 only when it was taken."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.alarms.channels import channel_test

        if error := channel_test(channel=_channel(name)):
            raise UserError(f"the message to {name} did not arrive: {error}", "check its address", "not_arrived")
        output.result({"name": name, "arrived": True}, f"a message went to {name}")


@command.command("remove-channel")
@click.argument("name")
@json_option
def remove_command(name: str, as_json: bool) -> None:
    """Tell NAME of nothing any more and forget its address."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.alarms.channels import channel_remove

        channel_remove(channel=_channel(name))
        output.result({"name": name, "removed": True}, f"the channel {name} is removed")


def _channel(name: str) -> Channel:
    from portal.alarms.models import Channel

    found = Channel.objects.filter(name=name).first()
    if found is None:
        raise UserError(f"there is no channel {name!r}", "manage.py alarms channels lists them", "no_channel")
    return found


def _described(channel: Channel, address: str) -> dict[str, Any]:
    return {
        "name": channel.name,
        "address": address,
        "least": channel.least,
        "enabled": channel.enabled,
        "last_sent_at": channel.last_sent_at.isoformat() if channel.last_sent_at else None,
        "last_error": channel.last_error,
    }


def _row(found: dict[str, Any]) -> str:
    state = found["last_error"] or ("on" if found["enabled"] else "off")
    return f"{found['name']:<20} {found['address']:<50} {found['least']:<8} {state}"
