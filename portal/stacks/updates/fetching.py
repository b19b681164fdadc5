"""Fetching images for a deploy: what stands under their names by now, or what a release had."""

from __future__ import annotations

from portal.core import places
from portal.operations.context import Context
from portal.runtime.compose import registry
from portal.runtime.compose.client import Docker
from portal.runtime.protocol import Rendered
from portal.stacks.updates.looking import images_of


def newest_fetch(ctx: Context, rendered: Rendered) -> None:
    """Fetch again every image that came from a registry; one that was built or loaded here is left alone.

    Raises:
        ComposeFailedError: one could not be fetched.
        Fenced, Cancelled
    """
    known = [reference for reference, services in images_of(rendered).items() if "@" in rendered.images[services[0]]]
    for reference in known:
        ctx.checkpoint()
        ctx.progress("Getting what is newer", note=reference)
        registry.fetch_newest(Docker.discover(), [reference])


def lost_fetch(rendered: Rendered) -> None:
    """Fetch the images of a release that are gone from this host, by digest; nothing where there are no images.

    Raises:
        ImageMissingError: one cannot be had any more.
    """
    if places.runtime().features.images:
        registry.fetch_lost(Docker.discover(), rendered.images)
