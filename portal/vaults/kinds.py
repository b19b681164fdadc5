"""Registers the kinds of operations of this app."""

from __future__ import annotations

from portal.vaults import backup, drill, restore, restore_aside, restore_closing

__all__ = ["backup", "drill", "restore", "restore_aside", "restore_closing"]
