"""From Compose's view of a service to this host's: addresses, secrets, volumes, programs.

A stack file says `http://vectordb:8000`, `/run/secrets/x`, `/data/documents`. A local process needs the loopback port,
the secret's file and the volume's folder instead. Pure functions: nothing here touches the disk.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from portal.runtime.errors import StackFileError
from portal.runtime.probe import Probe
from portal.runtime.spec import ServiceSpec, StackSpec

LOOPBACK = "127.0.0.1"
# What a service may inherit: enough to find programs and the clock's zone, nothing of the caller's own.
INHERITED = ("PATH", "TZ", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR")
VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>[A-Z_][A-Z0-9_]*)(?::-(?P<default>[^}]*))?\})")
ADDRESS = re.compile(r"(?<![\w.-])(?P<host>[a-z][a-z0-9-]*):(?P<port>\d{2,5})(?!\d)")
ANYWHERE = re.compile(r"(?<![\d.])0\.0\.0\.0(?::(?P<port>\d+))?(?![\d.])")
SECRET = re.compile(r"/run/secrets/(?P<name>[\w-]+)")


@dataclass(frozen=True, slots=True)
class Location:
    """Where one stack is on this host. `ports` maps service -> port inside -> port here."""

    project: str
    root: Path
    volume_root: Path
    listen: str
    ports: Mapping[str, Mapping[int, int]]
    settings: Mapping[str, str]
    aliases: Mapping[str, str]

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def conf(self) -> Path:
        return self.root / "conf"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    def secret(self, name: str) -> Path:
        """The file of a secret."""
        return self.secrets / name

    def volume(self, name: str) -> Path:
        """The folder of a volume; the data is in `live` inside."""
        return self.volume_root / name

    def port(self, service: str, inside: int | None = None) -> int:
        """The local port of a service: of its first port, or of the one it has `inside`."""
        known = self.ports[service]
        return known[inside] if inside is not None else next(iter(known.values()))

    def host(self, service: str) -> str:
        """The name or address under which a service is reached."""
        return LOOPBACK

    def url(self, service: str) -> str:
        """http:// and the address of a service's first port."""
        return f"http://{self.host(service)}:{self.port(service)}"


@dataclass(frozen=True, slots=True)
class LocalService:
    """One service as a local process; `folders` must exist before it starts."""

    name: str
    argv: tuple[str, ...]
    init: tuple[tuple[str, ...], ...]
    env: Mapping[str, str]
    cwd: str
    folders: tuple[str, ...]
    stop_signal: str
    probe: Probe
    niceness: int = 0

    @property
    def digest(self) -> str:
        """Changes when, and only when, the running process would have to be replaced.

        What it merely inherits says nothing about the description: whoever asks may have another PATH or zone.
        """
        own = {name: value for name, value in self.env.items() if name not in INHERITED}
        text = json.dumps([self.argv, self.init, own, self.cwd], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def as_json(self, run: str) -> dict[str, object]:
        """What portal.runtime.start needs; `run` is the folder where it leaves its record."""
        return {
            **{key: value for key, value in asdict(self).items() if key != "probe"},
            "digest": self.digest,
            "run": run,
        }


def interpolate(text: str, settings: Mapping[str, str], where: str) -> str:
    """Replace `${NAME}` and `${NAME:-default}` as Compose does; `$$` is a dollar sign.

    Raises:
        StackFileError: a variable without default has no value.
    """

    def value(found: re.Match[str]) -> str:
        if found["name"] is None:
            return "$"
        if given := settings.get(found["name"]):
            return given
        if found["default"] is None:
            raise StackFileError(where, f"the variable {found['name']} has no value")
        return interpolate(found["default"], settings, where)

    return VARIABLE.sub(value, text)


def active(spec: StackSpec, settings: Mapping[str, str]) -> dict[str, ServiceSpec]:
    """The services that run here: those whose `unless` setting is empty."""
    return {name: service for name, service in spec.services.items() if not settings.get(service.unless or "-")}


class Translator:
    """Rewrites the texts of one service."""

    def __init__(self, spec: StackSpec, service: ServiceSpec, location: Location) -> None:
        self._service = service
        self._location = location
        self._own = location.ports.get(service.name, {})
        self._paths = sorted(self._folders(spec), key=lambda pair: -len(pair[0]))

    def _folders(self, spec: StackSpec) -> list[tuple[str, str]]:
        volumes = [(m.target, str(self._location.volume(m.source))) for m in self._service.mounts if m.named]
        files = [(m.target, str((spec.file.parent / m.source).resolve())) for m in self._service.mounts if not m.named]
        # The machine's own /tmp serves every process; other scratch folders are the service's alone.
        own = self._location.run / self._service.name
        scratch = [(path, str(own / path.rpartition("/")[2])) for path in self._service.scratch if path != "/tmp"]  # noqa: S108
        return volumes + files + scratch

    @property
    def scratch(self) -> tuple[str, ...]:
        """The local folders for what need not survive a restart."""
        return tuple(local for target, local in self._paths if target in self._service.scratch)

    def text(self, text: str, where: str) -> str:
        """Rewrite variables, secrets, folders and addresses in one text; `where` names it in an error."""
        text = interpolate(text, self._location.settings, where)
        text = SECRET.sub(lambda found: str(self._location.secret(found["name"])), text)
        for target, local in self._paths:
            text = local.join(re.split(rf"{re.escape(target)}(?=/|$|[:\s;,])", text))
        text = ADDRESS.sub(self._address, text)
        return ANYWHERE.sub(self._anywhere, text)

    def words(self, words: tuple[str, ...], where: str) -> tuple[str, ...]:
        """Rewrite a command; a word after an option that ends in `port` is one of the service's own ports."""
        found: list[str] = []
        for index, word in enumerate(words):
            after_port = index > 0 and words[index - 1].startswith("-") and words[index - 1].endswith("port")
            if after_port and word.isdigit() and int(word) in self._own:
                found.append(str(self._own[int(word)]))
            else:
                found.append(self.text(word, f"{where}[{index}]"))
        return tuple(found)

    def _address(self, found: re.Match[str]) -> str:
        whole = found[0]
        if whole in self._location.aliases:
            return self._location.aliases[whole]
        local = self._location.ports.get(found["host"], {}).get(int(found["port"]))
        return whole if local is None else f"{LOOPBACK}:{local}"

    def _anywhere(self, found: re.Match[str]) -> str:
        host = self._location.listen if self._service.published else LOOPBACK
        if found["port"] is None:
            return host
        inside = int(found["port"])
        return f"{host}:{self._own.get(inside, inside)}"


def spliced(service: ServiceSpec) -> tuple[str, ...]:
    """The words of the local command, `{command}` replaced by the words of the container's command."""
    words = service.local or service.command
    return tuple(part for word in words for part in (service.command if word == "{command}" else (word,)))


def localize(
    spec: StackSpec,
    service: ServiceSpec,
    location: Location,
    *,
    tool: Callable[[str], Path | None],
    base: Mapping[str, str],
    cwd: Path,
) -> LocalService:
    """The local process of a service.

    Args:
        tool: finds the program behind a name of the stack file, None when it is missing.
        base: environment that every process gets; the service's own wins.

    Raises:
        StackFileError: a variable has no value, or a program is missing.
    """
    rewrite = Translator(spec, service, location)
    where = f"services.{service.name}"

    def command(words: tuple[str, ...], place: str) -> tuple[str, ...]:
        program = tool(words[0])
        if program is None:
            raise StackFileError(f"{place}[0]", f"the program {words[0]} is not installed")
        return (str(program), *rewrite.words(words[1:], place))

    local = spliced(service)
    place = f"{where}.x-ragkeep.command" if service.local else f"{where}.command"
    environment = {key: rewrite.text(value, f"{where}.environment.{key}") for key, value in service.environment.items()}
    volumes = tuple(str(location.volume(mount.source) / "live") for mount in service.mounts if mount.named)
    ready = service.ready
    return LocalService(
        name=service.name,
        argv=command(local, place),
        init=tuple(command(step, f"{where}.x-ragkeep.init[{n}]") for n, step in enumerate(service.init)),
        env={**base, **environment},
        cwd=str(cwd),
        folders=(*volumes, *rewrite.scratch),
        stop_signal=service.stop_signal,
        probe=Probe(
            host=LOOPBACK if location.listen in ("0.0.0.0", "::") or not service.published else location.listen,  # noqa: S104
            port=location.port(service.name, ready.port) if ready.port else 0,
            http=ready.http,
            command=command(ready.command, f"{where}.x-ragkeep.ready.command") if ready.command else (),
            seconds=ready.seconds,
        ),
        niceness=spec.niceness,
    )
