"""Channels: adding, trying and removing them, and sending what waits. One Apprise address each."""

from __future__ import annotations

import logging
import re
import socket
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import apprise
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import validate_slug
from django.db import IntegrityError, transaction
from django.utils import timezone

from backups.secret import Secret, write_secret
from portal.alarms.models import Alarm, Channel, Notice, Severity
from portal.alarms.services import CLEARED
from portal.core.services import audit
from portal.operations.errors import InputInvalid

log = logging.getLogger(__name__)

FIRST_PAUSE = timedelta(seconds=15)
LONGEST_PAUSE = timedelta(hours=1)
GIVE_UP_AFTER = timedelta(hours=24)
ADDRESSES = "mailtos://user:password@smtp.example.org?to=me@example.org or jsons://example.org/path"
_KINDS = {"raised": apprise.NotifyType.FAILURE, "cleared": apprise.NotifyType.SUCCESS}


def channel_add(*, name: str, url: str, least: str = Severity.WARNING, user: User | None = None) -> Channel:
    """Add a channel; its address goes to a file that only Ragkeep reads.

    Raises:
        InputInvalid: the name, the address or the severity will not do.
    """
    _demand_name(name)
    _opened(url)
    if least not in Severity.values:
        raise InputInvalid({"least": f"{least!r} is no severity; choose {' or '.join(Severity.values)}."})
    file = Path(settings.VAR_DIR) / "control" / "secrets" / "channels" / f"{name}.url"
    try:
        with transaction.atomic():
            channel = Channel.objects.create(name=name, url_file=str(file), least=least)
            audit(action="channel.added", target=f"channel:{name}", user=user)
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Of a channel of this name that is gone.
            file.unlink(missing_ok=True)
            write_secret(file, url.strip())
    except IntegrityError:
        raise InputInvalid({"name": f"There is a channel {name} already; choose another name."}) from None
    return channel


def channel_switch(*, channel: Channel, enabled: bool, user: User | None = None) -> None:
    """Tell this channel of alarms again, or no more."""
    with transaction.atomic():
        Channel.objects.filter(pk=channel.pk).update(enabled=enabled)
        if not enabled:
            channel.notices.filter(sent_at=None).delete()
        audit(action="channel.on" if enabled else "channel.off", target=f"channel:{channel.name}", user=user)


def channel_remove(*, channel: Channel, user: User | None = None) -> None:
    """Forget a channel and its address."""
    with transaction.atomic():
        Channel.objects.filter(pk=channel.pk).delete()
        audit(action="channel.removed", target=f"channel:{channel.name}", user=user)
    Path(channel.url_file).unlink(missing_ok=True)


def channel_test(*, channel: Channel) -> str:
    """Send a message that asks for nothing; returns why it did not arrive, empty when it did."""
    return _send(
        channel,
        title=f"Ragkeep on {socket.gethostname()}: this channel works",
        body="Alarms will be told here. There is nothing to do.",
        kind=apprise.NotifyType.INFO,
    )


def masked_address(channel: Channel) -> str:
    """The address for people: without passwords and tokens."""
    try:
        opened = apprise.Apprise()
        opened.add(Secret.from_file(Path(channel.url_file)).reveal())
        address: str = cast(Any, opened[0]).url(privacy=True)
        return address.partition("?")[0]
    except (OSError, ValueError, IndexError, TypeError):
        return "its address cannot be read"


def notices_send(*, now: datetime | None = None) -> int:
    """Send what waits and is due; returns how many arrived. A failure is tried again, ever less often, for a day."""
    moment = now or timezone.now()
    waiting = Notice.objects.select_related("alarm__operation", "channel").filter(
        sent_at=None, channel__enabled=True, created_at__gte=moment - GIVE_UP_AFTER
    )
    return sum(_deliver(notice) for notice in waiting if _is_due(notice, moment))


def _is_due(notice: Notice, now: datetime) -> bool:
    waited = now - notice.created_at
    pause = min(FIRST_PAUSE * (2**notice.attempts - 1), LONGEST_PAUSE * notice.attempts)
    return bool(pause <= waited)


def _deliver(notice: Notice) -> bool:
    """Only who raises `attempts` sends, so that two workers never tell the same thing twice."""
    mine = Notice.objects.filter(pk=notice.pk, sent_at=None, attempts=notice.attempts)
    if not mine.update(attempts=notice.attempts + 1):
        return False
    title, body = wording(notice.alarm, notice.about)
    if _send(notice.channel, title=title, body=body, kind=_KINDS[notice.about]):
        return False
    Notice.objects.filter(pk=notice.pk).update(sent_at=timezone.now())
    return True


def wording(alarm: Alarm, about: str) -> tuple[str, str]:
    """Title and body of a message about an alarm or its end."""
    where = f"Ragkeep on {socket.gethostname()}"
    if about == CLEARED:
        return f"{where}: over: {alarm.title}", f"It lasted from {alarm.raised_at:%Y-%m-%d %H:%M} UTC."
    since = f"Since {alarm.raised_at:%Y-%m-%d %H:%M} UTC."
    shown = f" Operation {alarm.operation_id}." if alarm.operation_id else ""
    return f"{where}: {alarm.title}", f"{alarm.remedy}\n\n{since}{shown}".strip()


def _send(channel: Channel, *, title: str, body: str, kind: apprise.NotifyType) -> str:
    """Send one message now; the row says how it went. Returns why it did not arrive."""
    error = _attempt(channel, title, body, kind)
    if error:
        log.warning("channel %s: %s", channel.name, error)
        Channel.objects.filter(pk=channel.pk).update(last_error=error)
    else:
        Channel.objects.filter(pk=channel.pk).update(last_error="", last_sent_at=timezone.now())
    return error


def _attempt(channel: Channel, title: str, body: str, kind: apprise.NotifyType) -> str:
    try:
        url = Secret.from_file(Path(channel.url_file)).reveal()
        opened = _opened(url)
    except (OSError, ValueError) as error:
        return f"Its address cannot be read: {error}. Remove the channel and add it again."
    except InputInvalid as error:
        return error.message
    with cast(Any, apprise).LogCapture(level=logging.WARNING, fmt="%(message)s") as said:
        arrived = opened.notify(title=title, body=body, notify_type=kind)
        why = said.getvalue().strip().splitlines()
    return "" if arrived else _without_secrets(why[0] if why else "The message did not arrive.", url)


def _without_secrets(text: str, url: str) -> str:
    """`text` without any part of the address that is long enough to be a token or a password."""
    for part in sorted(re.split(r"[/:@?&=]+", url), key=len, reverse=True):
        if len(part) >= 8 and "." not in part:
            text = text.replace(part, "***")
    return text[:300]


def _opened(url: str) -> apprise.Apprise:
    opened = apprise.Apprise()
    if not url.strip() or not opened.add(url.strip()):
        sentence = "That is no address that Apprise understands. Write it like " + ADDRESSES
        raise InputInvalid({"url": f"{sentence}; docs/how-to/alarms.md has more."})
    return opened


def _demand_name(name: str) -> None:
    try:
        validate_slug(name)
    except ValidationError:
        raise InputInvalid({"name": f"{name!r} will not do; use letters, digits, hyphens and underscores."}) from None
