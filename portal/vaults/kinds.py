"""Registers the kinds of operations of this app."""

from __future__ import annotations

from portal.vaults import (
    adoption,
    backup,
    copies,
    drill,
    reading,
    restore,
    restore_aside,
    restore_closing,
    trees,
    upkeep,
)

__all__ = [
    "adoption",
    "backup",
    "copies",
    "drill",
    "reading",
    "restore",
    "restore_aside",
    "restore_closing",
    "trees",
    "upkeep",
]
