"""Redis or Valkey: its own dump (RDB), received as a replica receives it, so that nothing is written on its side."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path

from backups.errors import SourceMissing, SourceUnreadable, StagingInvalid
from backups.fields import Fields
from backups.secret import Secret
from backups.sources.source import Part

DUMP_FILE = "dump.rdb"
# A server that is busy writing its dump sends an empty line every few seconds.
SILENCE_SECONDS = 60.0
_MAGIC = (b"REDIS", b"VALKEY")
_END = 0xFF
_CHECKSUM_BYTES = 8
_BLOCK = 1 << 16


class RedisSource:
    """Settings: `host`, `port`, and `password_file` where the server asks for a password."""

    def __init__(self, fields: Fields) -> None:
        self._host, self._port = fields.filled("host"), fields.integer("port")
        secret = fields.text_or_none("password_file")
        self._password_file = Path(secret) if secret else None
        self._taken_at = datetime.now(UTC)
        self._keys = 0

    def check(self) -> int:
        """Raises: SourceMissing: the server does not answer, or refuses the password."""
        with closing(self._connect()) as link:
            used = _number(link.call("INFO", "memory"), "used_memory")
        return used

    def prepare(self, folder: Path) -> None:
        """The server makes its dump when it is asked for it."""

    def freeze(self) -> None:
        """What Redis holds stands on its own: it is dumped after the thaw, with its own time."""

    def dump(self, folder: Path) -> None:
        with closing(self._connect()) as link:
            self._keys = sum(_keys_of(link.call("INFO", "keyspace")))
            self._taken_at = datetime.now(UTC)
            with (folder / DUMP_FILE).open("wb") as file:
                for block in link.dump():
                    file.write(block)

    def verify(self, folder: Path) -> Part:
        demand_whole(folder / DUMP_FILE)
        return Part(
            taken_at=self._taken_at,
            in_freeze=False,
            origin={"host": self._host, "port": self._port},
            details={"keys": self._keys},
        )

    def close(self) -> None:
        """Nothing is held."""

    def _connect(self) -> Link:
        link = Link(self._host, self._port)
        try:
            if self._password_file is not None:
                link.call("AUTH", _password(self._password_file).reveal())
            link.call("PING")
        except SourceUnreadable as refused:
            link.close()
            raise SourceMissing(
                f"Redis at {self._host}:{self._port} refuses us: {refused.message}", "Correct its password file."
            ) from None
        return link


class Link:
    """A connection that speaks as much of Redis' protocol as a dump needs."""

    def __init__(self, host: str, port: int) -> None:
        self._where = f"{host}:{port}"
        try:
            self._socket = socket.create_connection((host, port), timeout=10)
        except OSError as error:
            raise SourceMissing(f"Redis at {self._where} does not answer: {error.strerror or error}") from None
        self._socket.settimeout(SILENCE_SECONDS)
        self._file: BufferedReader = self._socket.makefile("rb")

    def call(self, *words: str) -> str:
        """Send a command and return its answer as text.

        Raises:
            SourceUnreadable: the server refuses it, or went away.
        """
        self._send(*words)
        line = self._line()
        if line.startswith(b"-"):
            raise SourceUnreadable(line[1:].decode("utf-8", "replace"))
        if line.startswith(b"$"):
            return self._read(int(line[1:]) + 2)[:-2].decode("utf-8", "replace")
        return line[1:].decode("utf-8", "replace")

    def dump(self) -> Iterator[bytes]:
        """The server's dump, block by block.

        `capa eof` has it sent straight to us: otherwise the server would write it over its own dump file first.
        """
        self.call("REPLCONF", "capa", "eof")
        self._send("SYNC")
        head = self._line()
        while not head:
            head = self._line()
        if head.startswith(b"$EOF:"):
            yield from self._until(head.removeprefix(b"$EOF:"))
        elif head.startswith(b"$"):
            yield from self._exactly(int(head[1:]))
        else:
            raise SourceUnreadable(f"Redis at {self._where} gives no dump: {head[1:].decode('utf-8', 'replace')}")

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def _until(self, mark: bytes) -> Iterator[bytes]:
        """Everything before `mark`, which is the last thing the server sends."""
        kept = b""
        while not kept.endswith(mark):
            kept += self._some(_BLOCK)
            whole = kept[: -len(mark)]
            if whole and not kept.endswith(mark):
                yield whole
                kept = kept[-len(mark) :]
        yield kept[: -len(mark)]

    def _exactly(self, left: int) -> Iterator[bytes]:
        while left:
            block = self._some(min(left, _BLOCK))
            left -= len(block)
            yield block

    def _send(self, *words: str) -> None:
        parts = [f"*{len(words)}\r\n".encode()]
        parts += [b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words]
        try:
            self._socket.sendall(b"".join(parts))
        except OSError as error:
            raise self._gone(error) from None

    def _line(self) -> bytes:
        try:
            line = self._file.readline()
        except OSError as error:
            raise self._gone(error) from None
        if not line:
            raise self._gone(None)
        return line.rstrip(b"\r\n")

    def _read(self, count: int) -> bytes:
        return b"".join(self._exactly(count))

    def _some(self, count: int) -> bytes:
        try:
            block = self._file.read1(count)
        except OSError as error:
            raise self._gone(error) from None
        if not block:
            raise self._gone(None)
        return block

    def _gone(self, error: OSError | None) -> SourceUnreadable:
        detail = f": {error.strerror or error}" if error else ""
        return SourceUnreadable(f"Redis at {self._where} ended the connection{detail}", "Read the log of that server.")


def demand_whole(dump: Path) -> None:
    """Prove that a dump begins and ends as the server writes one.

    Raises:
        StagingInvalid: it is empty, cut short or no dump.
    """
    size = dump.stat().st_size
    with dump.open("rb") as file:
        begins = file.read(len(max(_MAGIC, key=len))).startswith(_MAGIC)
        file.seek(max(0, size - _CHECKSUM_BYTES - 1))
        ends = file.read(1) == bytes([_END])
    if not (begins and ends):
        raise StagingInvalid(f"the dump of Redis, {size} bytes, is not whole")


def _password(file: Path) -> Secret:
    try:
        return Secret.from_file(file)
    except (OSError, ValueError) as error:
        raise SourceMissing(f"the password file {file} cannot be read: {error}") from None


def _number(info: str, name: str) -> int:
    found = (line.partition(":")[2] for line in info.splitlines() if line.startswith(f"{name}:"))
    return int(next(found, "0"))


def _keys_of(info: str) -> Iterator[int]:
    """`db0:keys=12,expires=3,...` -> 12, for every database."""
    for line in info.splitlines():
        if line.startswith("db"):
            yield int(line.partition("keys=")[2].partition(",")[0])
