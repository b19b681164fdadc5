"""Answers with citations: retrieve, prompt, stream, keep."""
