"""Stacks that are somebody else's Compose project: from a folder, an upload, a Git repository, or running already."""
