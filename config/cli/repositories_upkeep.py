"""Subcommands of `manage.py repositories` that look after one: checking, pruning, copying, changing its key."""

from __future__ import annotations

import click

COMMANDS: tuple[click.Command, ...] = ()
