"""What every runtime can do. A driver is told *what* to run (a StackSpec), never how or where on this host."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from backups.process import Completed
from portal.runtime.spec import StackSpec


class State(StrEnum):
    """The condition of one service."""

    HEALTHY = "healthy"
    STARTING = "starting"
    UNHEALTHY = "unhealthy"
    STOPPED = "stopped"
    FAILED = "failed"


class Action(StrEnum):
    """What `apply` does to one service; `scale` takes away instances that are too many."""

    CREATE = "create"
    START = "start"
    RECREATE = "recreate"
    SCALE = "scale"
    KEEP = "keep"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Features:
    """What a driver can promise, so that callers ask the driver and not its name."""

    driver: str
    real_processes: bool
    images: bool
    network_isolation: bool
    replicas: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a stack could not be run here; `path` names the place in the stack file."""

    path: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a plan: what happens to `service` and why.

    `reason` is a sentence for people; `causes` are the same for programs, as far as the driver tells them apart:
    `configuration`, `image`, `contents` (of what it mounts), `instances`, `network` (made anew), `asked` (by somebody),
    `follows` (another one that is replaced).
    """

    service: str
    action: Action
    reason: str
    causes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What `apply` would do, or did, in the order of the stack file."""

    changes: tuple[Change, ...]

    @property
    def is_empty(self) -> bool:
        """True when everything runs already as it should."""
        return all(change.action is Action.KEEP for change in self.changes)

    def action(self, service: str) -> Action | None:
        return next((change.action for change in self.changes if change.service == service), None)


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service now. `since` is a Unix time in seconds, `memory_bytes` counts shared pages once, both None when it
    does not run; `detail` is a short sentence for people, empty when all is well; `instances` counts those that run
    where a service can have several."""

    service: str
    title: str
    state: State
    detail: str = ""
    pid: int | None = None
    since: float | None = None
    memory_bytes: int | None = None
    instances: int = 1


@dataclass(frozen=True, slots=True)
class Stats:
    """Use of one service: bytes of memory, seconds of processor time since its start, number of processes; bytes that
    went through its network and to and from disks since its start, None where the driver cannot tell."""

    memory_bytes: int
    cpu_seconds: float
    processes: int
    network_in: int | None = None
    network_out: int | None = None
    disk_read: int | None = None
    disk_written: int | None = None


class Happened(StrEnum):
    """What can happen to a service that nobody told to do anything."""

    ENDED = "ended"
    OUT_OF_MEMORY = "out_of_memory"


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened to a service by itself; `at` is a Unix time, `detail` a few words, e.g. `exit status 1`
    or `terminated by SIGKILL`."""

    service: str
    at: float
    what: Happened
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a stack is to run, to be kept and deployed again.

    Attributes:
        text: the whole description as what executes it gets it; of secrets only the paths of their files.
        images: service -> the image it runs, by what names it for good: its digest, or its id where it has none.
            Empty where the driver has no images; without the services whose image is not here yet.
        contents: service -> what it mounts, by the name people know it by -> digest of the contents. Digests of two
            stacks cannot be compared.
    """

    text: str
    images: Mapping[str, str]
    contents: Mapping[str, Mapping[str, str]]


Report = Callable[[ServiceStatus], None]


class Terminal(Protocol):
    """A shell in the surroundings of a service, on a terminal of its own. One thread reads, another may do the rest."""

    def read(self, seconds: float) -> bytes | None:
        """What was written to the terminal, at most 64 KiB; None when that was nothing for so long, b"" at its end."""
        ...

    def write(self, data: bytes) -> int:
        """Type; returns how many bytes were taken, 0 when nobody reads them at the moment."""
        ...

    def resize(self, rows: int, columns: int) -> None:
        """Give it another size, and tell what runs in it."""
        ...

    def close(self) -> int | None:
        """End the shell and everything that was started in it; returns its exit status where it had ended by itself."""
        ...


class Runtime(Protocol):
    """Executes stacks. Every method may raise a StackRuntimeError; all of them can be repeated without harm."""

    @property
    def features(self) -> Features: ...

    def validate(self, spec: StackSpec) -> tuple[Problem, ...]:
        """Everything that would keep the stack from running here; empty when nothing would. Changes nothing."""
        ...

    def provide(self, spec: StackSpec, *, report: Report | None = None) -> None:
        """Have everything here that `apply` will need, images above all, before anything is stopped.

        Raises:
            ImageMissingError: one could neither be pulled nor built; names it and its service.
        """
        ...

    def rendered(self, spec: StackSpec) -> Rendered:
        """What `apply` would deploy now, as a release keeps it. The stack has its ports from now on.

        Raises:
            StackFileError: the stack's files are not what can be run here.
        """
        ...

    def keep_images(self, images: Mapping[str, str]) -> None:
        """Give images further names (name -> image), so that nobody's clean-up takes them for left over.

        Nothing happens where the driver has no images.
        """
        ...

    def let_images_go(self, names: Collection[str]) -> None:
        """Take such names away again."""
        ...

    def plan(self, spec: StackSpec, *, release: Rendered | None = None) -> Plan:
        """What `apply` would do now. Changes nothing."""
        ...

    def apply(
        self,
        spec: StackSpec,
        *,
        services: Collection[str] | None = None,
        report: Report | None = None,
        timeout: float = 180.0,
        release: Rendered | None = None,
    ) -> Plan:
        """Make the stack run as described and wait until every service is healthy.

        Where the driver has replicas, a service marked `replace: start-first` is replaced by new instances beside the
        old ones, which go on serving until the new ones are healthy, and stay when they do not get so.

        Args:
            services: only these, and what they depend on and does not run; None means all of them.
            report: called at each change of a service's state.
            timeout: seconds one service may take to become healthy.
            release: what to run, instead of what the stack's files say now.

        Raises:
            PortTakenError, ImageMissingError: before anything was stopped or started.
            ServiceFailedError: one did not become healthy; the others go on running.
        """
        ...

    def scale(self, spec: StackSpec, service: str, instances: int, *, release: Rendered | None = None) -> None:
        """Have so many instances of a service from now on, and wait until they are healthy; `release` as in `apply`.

        Raises:
            ScaleRefusedError: the driver or the service knows one instance only; nothing was changed.
            ServiceFailedError: a new one did not become healthy.
        """
        ...

    def recreate(self, spec: StackSpec, service: str, *, release: Rendered | None = None) -> None:
        """Replace the instances of one service by new ones of the same description, and wait until they are healthy;
        `release` as in `apply`.

        Raises:
            ServiceFailedError: they did not become so.
        """
        ...

    def stop(self, spec: StackSpec, *, services: Collection[str] | None = None) -> None:
        """Stop these services (None: all), those first that depend on others; data stays."""
        ...

    def reconcile(self, spec: StackSpec) -> None:
        """Put right what changes by itself, such as the addresses of instances that were restarted. To be called now
        and then; it never starts, stops or replaces anything, and does nothing while somebody changes the stack."""
        ...

    def remove(self, spec: StackSpec, *, data: bool = False) -> None:
        """Stop everything and forget the stack; with `data`, its volumes, secrets and logs are deleted too."""
        ...

    def status(self, spec: StackSpec) -> tuple[ServiceStatus, ...]:
        """The condition of every service, in the order of the stack file."""
        ...

    def logs(self, spec: StackSpec, service: str, *, lines: int = 200, follow: bool = False) -> Iterator[str]:
        """The last `lines` lines a service wrote, and with `follow` every further one until the caller stops."""
        ...

    def exec(self, spec: StackSpec, service: str, argv: Sequence[str], *, timeout: float | None = None) -> Completed:
        """Run a command in the surroundings of a service (its environment, paths and addresses) to its end."""
        ...

    def terminal(self, spec: StackSpec, service: str, *, mark: str, rows: int, columns: int) -> Terminal:
        """Open a shell where `exec` runs its commands. By `mark`, a word of letters and digits that nobody else uses,
        what runs in it is found again. It ends with the thread that called.

        Raises:
            StackRuntimeError: there is nowhere to run it, because the service does not run.
        """
        ...

    def end_terminal(self, spec: StackSpec, service: str, mark: str) -> None:
        """End what a terminal has left over that nobody could close."""
        ...

    def stats(self, spec: StackSpec) -> dict[str, Stats]:
        """Use of every service that runs."""
        ...

    def happenings(self, spec: StackSpec, *, since: float) -> tuple[Happening, ...]:
        """What happened to services by itself after `since` (a Unix time), in that order, as far as is remembered."""
        ...
