"""A portal that believes to have Docker: a runtime that remembers what it was told, an engine that lists containers."""
