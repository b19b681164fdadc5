"""Bringing a backup set back: stage, verify, swap, ask, and undo until the operator is sure."""
