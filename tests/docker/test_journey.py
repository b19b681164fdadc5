"""One person, one browser, everything in containers: upload, ask, back up, wipe, restore, ask again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.test_journey import journey
from tests.support.browser import chromium
from tests.support.docker_product import DockerProduct

pytestmark = [pytest.mark.docker, pytest.mark.browser, pytest.mark.timeout(1800)]


def test_the_whole_journey_in_containers(product: DockerProduct, tmp_path: Path) -> None:
    with chromium() as browser:
        journey(product, browser, tmp_path, stack=product.name)
