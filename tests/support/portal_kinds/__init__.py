"""Kinds of operations for tests of the engine: they do next to nothing, but for as long as a test likes."""

urlpatterns: list[object] = []
