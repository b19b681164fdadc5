"""The containers of one project, as they are now: their condition, what they wrote, what they use."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from portal.runtime.compose import argv, usage
from portal.runtime.compose.client import Docker
from portal.runtime.compose.containers import ONE_OFF, PROJECT, SERVICE, Container, by_service, judge, read
from portal.runtime.compose.happenings import GRACE_SECONDS, KINDS, happenings
from portal.runtime.compose.logs import Line, just_after, merged
from portal.runtime.compose.logs import lines as log_lines
from portal.runtime.protocol import Happening, ServiceStatus, Stats

FOLLOW_PAUSE_SECONDS = 0.3
# The most that is read of what was written during one pause.
FOLLOW_LINES = 5000


@dataclass(frozen=True, slots=True)
class Fleet:
    """The containers of a project; every question is asked anew."""

    docker: Docker
    project: str

    def containers(self, services: Collection[str] | None = None) -> list[Container]:
        """The containers of these services (None: of all), running or not."""
        engine = self.docker.engine
        told = engine.containers(f"{PROJECT}={self.project}", f"{ONE_OFF}=False")
        wanted = (item["Id"] for item in told if services is None or item["Labels"].get(SERVICE) in services)
        found = (engine.inspect(container) for container in wanted)
        return [read(tree) for tree in found if tree is not None]

    def statuses(
        self,
        titles: Mapping[str, str],
        *,
        once: Collection[str] = (),
        stopped: Collection[str] = (),
        without: Collection[str] = (),
    ) -> list[ServiceStatus]:
        """The condition of these services (name -> title), `without` containers of these ids; see `judge`."""
        found, now = by_service([one for one in self.containers(titles) if one.id not in without]), time.time()
        return [
            judge(name, title, found.get(name, ()), now=now, once=name in once, stopped=name in stopped)
            for name, title in titles.items()
        ]

    def statuses_with_memory(
        self, titles: Mapping[str, str], *, stopped: Collection[str], without: Collection[str]
    ) -> list[ServiceStatus]:
        """The same, with the memory that each of them uses."""
        told = self.statuses(titles, stopped=stopped, without=without)
        found = by_service(self.containers(titles))
        with ThreadPoolExecutor(max_workers=8, thread_name_prefix="stats") as pool:
            used = pool.map(lambda status: self._memory(found.get(status.service, ())), told)
            return [replace(status, memory_bytes=size) for status, size in zip(told, used, strict=True)]

    def stats(self, names: Collection[str]) -> dict[str, Stats]:
        """What those of these services use that run."""
        found = by_service([container for container in self.containers(names) if container.is_up])
        with ThreadPoolExecutor(max_workers=8, thread_name_prefix="stats") as pool:
            up = [name for name in names if name in found]
            return dict(zip(up, pool.map(lambda name: self._stats(found[name]), up), strict=True))

    def happenings(self, *, since: float) -> tuple[Happening, ...]:
        """What happened to them by themselves after `since`, a Unix time."""
        told = self.docker.engine.events(
            f"{PROJECT}={self.project}", *KINDS, since=since - GRACE_SECONDS, until=time.time()
        )
        return happenings(told, since=since)

    def halt(self, services: Collection[str]) -> None:
        """Stop the containers of these services at once, each with its own signal and patience."""
        up = [container.id for container in self.containers(services) if container.is_up]
        if up:
            self.docker.run(argv.stop(up))

    def discard(self, containers: Collection[Container]) -> None:
        """Remove containers, whatever they do."""
        if containers:
            self.docker.run(argv.remove([container.id for container in containers]))

    def tail(self, service: str, lines: int, *, without: Collection[str] = ()) -> list[str]:
        """The last lines that the containers of a service wrote, `without` those of these ids."""
        return [line.text for line in self._log(service, lines, without=without)[-lines:]] if lines > 0 else []

    def follow(self, service: str, lines: int) -> Iterator[str]:
        """The same and every further line. It asks again and again: a stream would end with its container."""
        found = self._log(service, max(1, lines))
        yield from (line.text for line in (found[-lines:] if lines else []))
        since = just_after(found[-1].moment) if found else ""
        while True:
            time.sleep(FOLLOW_PAUSE_SECONDS)
            if found := self._log(service, FOLLOW_LINES, since):
                yield from (line.text for line in found)
                since = just_after(found[-1].moment)

    def _log(self, service: str, lines: int, since: str = "", without: Collection[str] = ()) -> list[Line]:
        engine = self.docker.engine
        found = [one for one in self.containers([service]) if one.id not in without]
        told = ((engine.log(one.id, tail=lines, since=since), one.terminal) for one in found)
        return merged([log_lines(raw, terminal=terminal) for raw, terminal in told])

    def _memory(self, found: Sequence[Container]) -> int | None:
        up = [container.id for container in found if container.is_up]
        engine = self.docker.engine
        return sum(usage.memory_bytes(engine.stats(container)) for container in up) if up else None

    def _stats(self, found: Sequence[Container]) -> Stats:
        engine = self.docker.engine
        told = [engine.stats(container.id) for container in found]
        networks, disks = [usage.network(stats) for stats in told], [usage.disk(stats) for stats in told]
        return Stats(
            memory_bytes=sum(usage.memory_bytes(stats) for stats in told),
            cpu_seconds=sum(usage.cpu_seconds(stats) for stats in told),
            processes=sum(usage.family_size(c.pid or 0, engine.processes(c.id)) for c in found),
            network_in=sum(received for received, _ in networks),
            network_out=sum(sent for _, sent in networks),
            disk_read=sum(read for read, _ in disks),
            disk_written=sum(written for _, written in disks),
        )
