"""All rules, in the order in which an operator should read what they find."""

from __future__ import annotations

from portal.alarms.conditions import Rule
from portal.alarms.rules import backups, drills, events, recovery, repositories, stacks

RULES: tuple[Rule, ...] = (
    backups.failed,
    backups.overdue,
    backups.switched_off,
    backups.suspicious,
    backups.damaged,
    backups.lost,
    drills.failed,
    drills.unproven,
    repositories.gone,
    repositories.damaged,
    repositories.forged,
    repositories.nearly_full,
    repositories.on_one_disk,
    recovery.held,
    recovery.key_unproven,
    events.out_of_memory,
    events.crashing,
)
STACK_RULES: tuple[Rule, ...] = (stacks.unwell,)
