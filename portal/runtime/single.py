"""What runtimes do alike in which a service is one thing and never several."""

from __future__ import annotations

from portal.runtime.errors import ScaleRefusedError
from portal.runtime.protocol import Rendered, Runtime
from portal.runtime.spec import StackSpec


def scale(runtime: Runtime, spec: StackSpec, service: str, instances: int, release: Rendered | None) -> None:
    """`Runtime.scale` to one instance.

    Raises:
        ScaleRefusedError: it is to be another number.
    """
    name = spec.service(service).name
    if instances != 1:
        raise ScaleRefusedError(name, f"has one instance under the runtime {runtime.features.driver}")
    runtime.apply(spec, services=[name], release=release)


def recreate(runtime: Runtime, spec: StackSpec, service: str, release: Rendered | None) -> None:
    """`Runtime.recreate`: its data lies outside of what is replaced."""
    name = spec.service(service).name
    runtime.stop(spec, services=[name])
    runtime.apply(spec, services=[name], release=release)
