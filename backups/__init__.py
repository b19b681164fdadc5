"""Consistent backup sets, restores and rescue: plain Python, no web framework, no task queue."""
