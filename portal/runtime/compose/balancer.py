"""The lists of instances in an nginx that spreads requests: rewritten, read again, and proven to be in force.

A list starts with the service's name, which Docker resolves to containers that are still starting, too. So whoever
deploys lists the addresses of those that serve. The files are in the container and begin anew with it: after a restart
of the machine nginx resolves the names once more, and no address of yesterday remains.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from portal.runtime.compose import argv
from portal.runtime.compose.containers import Container, by_service
from portal.runtime.compose.fleet import Fleet
from portal.runtime.compose.record import write_private
from portal.runtime.errors import ComposeFailedError, StackRuntimeError
from portal.runtime.spec import ServiceSpec

# With a list of nobody nginx would not start; this one makes it answer at once that nobody serves.
NOBODY = "server 127.0.0.1:9 down;\n"
READ = 'cat "$RAGKEEP_RUN/instances/$1.conf"'
WRITE = (
    'cd "$RAGKEEP_RUN/instances" && while [ $# -gt 1 ]; do'
    ' printf "%s" "$2" > "$1.new" && mv "$1.new" "$1.conf" || exit 1; shift 2; done'
    ' && exec nginx -s reload -c "$RAGKEEP_RUN/nginx.conf" -e stderr'
)
WORKER, ENDING = "nginx: worker process", "shutting down"
RELOAD_SECONDS = 20.0
PAUSE_SECONDS = 0.05


def listed(port: int, instances: Sequence[Container], networks: Collection[str]) -> str:
    """The list of these instances, by their address on the first network that they share with nginx. Pure."""
    found = [dict(one.addresses) for one in sorted(instances, key=lambda one: one.id)]
    shared = [next((known[name] for name in sorted(networks) if known.get(name)), "") for known in found]
    return "".join(f"server {address}:{port} max_fails=0;\n" for address in shared if address) or NOBODY


def serving(found: Collection[Container]) -> list[Container]:
    """Those of a service's containers that requests may be sent to: the healthy ones, or all that run if none is."""
    running = [one for one in found if one.phase == "running"]
    return [one for one in running if one.health in ("", "healthy")] or running


@dataclass(frozen=True, slots=True)
class Balancer:
    """An nginx of a stack; `service` says over the instances of which services it spreads requests.

    `memory` is the file where it is kept which lists it has, so that it is not asked for them all the time.
    """

    fleet: Fleet
    service: ServiceSpec
    memory: Path

    def update(self, leaving: Collection[str] = ()) -> None:
        """Have it send requests to every instance that serves, but to none of those that are `leaving` (ids).

        Returns when no request that arrives from now on goes elsewhere. One that does not run is left alone.

        Raises:
            StackRuntimeError: it did not take the lists.
        """
        found = by_service(self.fleet.containers([self.service.name, *self.service.balances]))
        for nginx in found.get(self.service.name, ()):
            if nginx.phase == "running":
                self._update(nginx, found, leaving)

    def _update(self, nginx: Container, found: Mapping[str, Sequence[Container]], leaving: Collection[str]) -> None:
        networks = dict(nginx.addresses)
        wanted = {
            name: listed(port, serving([one for one in found.get(name, ()) if one.id not in leaving]), networks)
            for name, port in self.service.balances.items()
        }
        # It forgets its lists when it starts anew.
        known = f"{nginx.id} {nginx.started}\n{wanted}\n"
        if self.memory.is_file() and self.memory.read_text(encoding="utf-8") == known:
            return
        if changed := {name: text for name, text in wanted.items() if self._read(nginx, name) != text}:
            before = self._workers(nginx)
            self._write(nginx, changed)
            self._await(nginx, before)
        write_private(self.memory, known)

    def _read(self, nginx: Container, name: str) -> str:
        words = argv.execute(nginx.id, ["sh", "-c", READ, "sh", name])
        return self.fleet.docker.run(words, check=False).stdout

    def _write(self, nginx: Container, lists: Mapping[str, str]) -> None:
        pairs = [word for pair in lists.items() for word in pair]
        try:
            self.fleet.docker.run(argv.execute(nginx.id, ["sh", "-c", WRITE, "sh", *pairs]))
        except ComposeFailedError as error:
            raise self._refused(error.said) from None

    def _workers(self, nginx: Container) -> set[int]:
        """The processes that take new requests."""
        told = self.fleet.docker.engine.commands(nginx.id)
        return {pid for pid, words in told.items() if words.startswith(WORKER) and ENDING not in words}

    def _await(self, nginx: Container, before: Collection[int]) -> None:
        end = time.monotonic() + RELOAD_SECONDS
        while not (now := self._workers(nginx)) or now & set(before):
            if time.monotonic() > end:
                raise self._refused("\n".join(self.fleet.tail(self.service.name, 5)))
            time.sleep(PAUSE_SECONDS)

    def _refused(self, said: str) -> StackRuntimeError:
        return StackRuntimeError(
            f"service {self.service.name} did not take its new list of instances: {said}",
            "read its log; it goes on with the list it had",
        )


def balancers(fleet: Fleet, folder: Path, services: Mapping[str, ServiceSpec]) -> list[Balancer]:
    """Those of these services that spread requests; what they have is remembered in `folder`."""
    chosen = [service for service in services.values() if service.balances]
    return [Balancer(fleet, service, folder / f"lists-of-{service.name}.txt") for service in chosen]
