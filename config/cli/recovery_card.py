"""`manage.py recovery-card`: what a recovery needs, to be kept on paper and away from this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from config.cli.operations import connect
from config.cli.output import UserError, json_option, speaking

if TYPE_CHECKING:
    from portal.vaults.models import Repository
    from portal.vaults.recoverycard import RecoveryCard


@click.command("recovery-card")
@click.argument("repository", required=False)
@json_option
def command(repository: str | None, as_json: bool) -> None:
    """Print the recovery card of REPOSITORY: address, ids, where the key is, what to type. The default is the first."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.recoverycard import recovery_card

        card = recovery_card(choose_repository(repository))
        output.result(card.to_json(), _text(card))


def choose_repository(name: str | None) -> Repository:
    """The repository of that name, else the one that `up` made.

    Raises:
        UserError: there is none.
    """
    from portal.vaults.models import Repository
    from portal.vaults.selectors import repository_get_default

    try:
        return Repository.objects.get(name=name) if name else repository_get_default()
    except Repository.DoesNotExist:
        known = ", ".join(Repository.objects.order_by("name").values_list("name", flat=True))
        message = f"there is no repository {name}" if name else "there is no repository yet"
        raise UserError(message, f"there are: {known}" if known else "run python3 manage.py up", "unknown") from None


def _text(card: RecoveryCard) -> str:
    made = f", made {card.key_made_at:%Y-%m-%d}" if card.key_made_at else ""
    proven = f"{card.proven_at:%Y-%m-%d}" if card.proven_at else "never: manage.py prove-key does it"
    lines = [
        f"RAGKEEP RECOVERY CARD                          printed {card.made_at:%Y-%m-%d}",
        "",
        f"Repository   {card.repository}",
        f"Address      {card.url}",
        f"Its id       {card.restic_id}",
        f"Key id       {card.key_id or 'not known now: the repository does not answer'}{made}",
        f"Holds        stack {', '.join(card.stacks) or '(none yet)'}, with the portal",
        f"Key proven   {proven}",
        "",
        "The key itself is not on this card. On the old machine it is in",
        f"  {card.password_file}",
        "Keep a copy away from that machine. I keep it at: ______________________________",
    ]
    for one in card.needed:
        lines += ["", f"{one.what} ({one.word} below) is needed too. On the old machine it is in", f"  {one.path}"]
        lines.append("Keep a copy away from that machine. I keep it at: ______________________________")
    return "\n".join([
        *lines,
        "",
        "On a blank Linux machine, in a checkout of Ragkeep, type:",
        f"  {card.command}",
        "Without Ragkeep, any restic from 0.17 reads it: docs/how-to/rescue.md.",
    ])  # fmt: skip
