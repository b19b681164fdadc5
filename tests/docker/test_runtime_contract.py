"""What every runtime must do (tests/contract), asked of the Compose runtime on a real engine."""

from __future__ import annotations

import pytest

from portal.runtime.compose import ComposeRuntime
from portal.runtime.compose.client import Docker
from portal.runtime.paths import RuntimePaths
from tests.contract.test_runtime import *  # noqa: F403 - every test of the contract, and its fixture `spec`
from tests.support import tiny_stack
from tests.support.docker_engine import Engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")  # type: ignore[no-redef]  # the contract's own is of other drivers
def runtime(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> ComposeRuntime:
    tiny_stack.build_image(engine)
    return ComposeRuntime(RuntimePaths(tmp_path_factory.mktemp("var")), Docker(engine.host, engine.config))
