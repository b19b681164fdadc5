"""The doctor's checks: each sees what is wrong and says what to do."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from portal.doctor import installation, machine, services
from portal.doctor.certificates import NotACertificateError, valid_until
from portal.doctor.checks import examine
from portal.doctor.findings import ERROR, OK, WARNING, Finding, Subject
from portal.doctor.fixes import close_secrets
from portal.doctor.hosts import hosts_of
from portal.doctor.symptoms import Classic, symptoms
from portal.runtime.fake import FakeRuntime
from portal.runtime.foreign import Foreign
from portal.runtime.paths import RuntimePaths
from portal.runtime.protocol import Happened, Happening
from portal.runtime.spec import StackSpec
from portal.runtime.state import locate, read_state, settle
from portal.runtime.translate import Location
from tests.support import tiny_stack

# Valid until 2036-11-20 and 2126-10-30; from 2050 on, certificates write their times another way.
SHORT = """-----BEGIN CERTIFICATE-----
MIIBdjCCAR2gAwIBAgICEmcwCgYIKoZIzj0EAwIwGjEYMBYGA1UEAwwPcmFna2Vl
cC5leGFtcGxlMB4XDTI2MTEyMzAwMzkwNloXDTM2MTEyMDAwMzkwNlowGjEYMBYG
A1UEAwwPcmFna2VlcC5leGFtcGxlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
8QoyPvo4fPtU13hVLb/NrJBZ0sYkDtnRI1MrALbY8LmhHWcDWn0ZiKzVXfl5kB0V
L6wJkbT2V15bAjf+h0bp+qNTMFEwHQYDVR0OBBYEFFHM6zYLfRXUgv9nJ5qegAFz
cSe+MB8GA1UdIwQYMBaAFFHM6zYLfRXUgv9nJ5qegAFzcSe+MA8GA1UdEwEB/wQF
MAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgW6IuwdkhW9GcuJK2SZHFoyEkKVdOZq8P
IUgTrvykxyICID2yRcRev4EYRJ+7blZoerIVc4f3GGXVI7jcmxfbntZp
-----END CERTIFICATE-----
"""
LONG = """-----BEGIN CERTIFICATE-----
MIIBhTCCASugAwIBAgIUX0AlyqqRGCcqVnaPBBafyxD643AwCgYIKoZIzj0EAwIw
FzEVMBMGA1UEAwwMbG9uZy5leGFtcGxlMCAXDTI2MTEyMzAwMzkwNloYDzIxMjYx
MDMwMDAzOTA2WjAXMRUwEwYDVQQDDAxsb25nLmV4YW1wbGUwWTATBgcqhkjOPQIB
BggqhkjOPQMBBwNCAARI0XDv61EahF/TAo2ZU6sbVMlzjbwbk/pp3AIJLFuRas8Y
PsBShVnaxmgSsngzJoIs/+UM5qJkJARMvSyaVXjLo1MwUTAdBgNVHQ4EFgQUhJeH
eb6zRAtdfUo3om9mFX3OpRQwHwYDVR0jBBgwFoAUhJeHeb6zRAtdfUo3om9mFX3O
pRQwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEAmBQLFF+hiJgr
yCcKDDeAoG+w5+5T/c8lxL1yAqWKhIkCIBR86udrmItyEoxap3tOiPCo+eIBFfxa
8mOMpbvRdBuk
-----END CERTIFICATE-----
"""


class Placed(FakeRuntime):
    """The fake runtime with places of this machine; `taken` are ports that somebody holds."""

    def __init__(self, paths: RuntimePaths) -> None:
        super().__init__()
        self.paths, self.taken = paths, dict[int, str]()

    def taken_ports(self, spec: StackSpec) -> dict[int, str]:
        return self.taken

    def locate(self, spec: StackSpec) -> Location:
        return locate(spec, settle(spec, read_state(self.paths.root(spec.project))), self.paths)


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    paths = RuntimePaths(tmp_path)
    return Subject(paths=paths, runtime=Placed(paths), groups=(tiny_stack.tiny(),), base_port=9000)


def states(found: Iterator[Finding]) -> list[tuple[str, str]]:
    return [(finding.name, finding.state) for finding in found]


@pytest.mark.parametrize(
    ("said", "classic"),
    [
        ("OSError: [Errno 98] Address already in use", Classic.PORT),
        ("bind() to 0.0.0.0:8080 failed (98: Address already in use)", Classic.PORT),
        (
            "driver failed programming external connectivity: Bind for 0.0.0.0:80: port is already allocated",
            Classic.PORT,
        ),
        ("PermissionError: [Errno 13] Permission denied: '/data/x'", Classic.PERMISSION),
        ('FATAL:  data directory "/x" has group or world access', Classic.PERMISSION),
        ("open() failed (30: Read-only file system)", Classic.PERMISSION),
        ("MemoryError", Classic.MEMORY),
        ("terminate called after throwing an instance of 'std::bad_alloc'", Classic.MEMORY),
        ("fork: Cannot allocate memory", Classic.MEMORY),
        ("Out of memory: Killed process 812 (python)", Classic.MEMORY),
    ],
)
def test_the_classics_are_known_by_what_programs_say(said: str, classic: Classic) -> None:
    (found,) = symptoms("api", ["all is well", said, "all is well"])
    assert (found.classic, found.said) == (classic, said)


def test_a_log_that_went_well_shows_nothing() -> None:
    assert symptoms("api", ["listening on port 8080", "memory: 12 MB", "permissions checked"]) == []


def test_the_newest_line_of_each_classic_is_shown() -> None:
    lines = ["bind: address already in use (old)", "Permission denied", "bind: address already in use (new)"]
    assert [found.said for found in symptoms("api", lines)] == [
        "bind: address already in use (new)",
        "Permission denied",
    ]


def test_a_port_somebody_holds_is_named_with_its_holder(subject: Subject) -> None:
    assert isinstance(subject.runtime, Placed)
    assert states(installation.check_ports(subject)) == [("ports", OK)]
    subject.runtime.taken = {9001: "nginx (pid 812)"}
    (found,) = installation.check_ports(subject)
    assert (found.state, found.message) == (ERROR, "9001 is held by nginx (pid 812)")
    assert "--port" in found.remedy


def test_a_secret_that_others_may_read_is_closed_at_a_click(subject: Subject) -> None:
    secret = subject.paths.root("tiny") / "secrets" / "token"
    secret.parent.mkdir(parents=True)
    secret.write_text("x")
    secret.chmod(0o644)
    (found,) = installation.check_permissions(subject)
    assert (found.state, found.fix) == (ERROR, "secrets")
    assert str(secret) in found.message
    assert close_secrets(subject) == [str(secret)]
    assert secret.stat().st_mode & 0o777 == 0o600
    assert states(installation.check_permissions(subject)) == [("permissions", OK)]
    assert close_secrets(subject) == []


def test_a_volume_that_its_services_may_not_enter_is_named(subject: Subject, tmp_path: Path) -> None:
    content = {**tiny_stack.tree(), "volumes": {"documents": {}}}
    spec = tiny_stack.written(content, tmp_path, "tiny")
    live = subject.paths.volumes("tiny") / "documents" / "live"
    live.mkdir(parents=True)
    looked_at = Subject(paths=subject.paths, runtime=subject.runtime, groups=(spec,))
    live.chmod(0o000)
    try:
        if os.access(live, os.R_OK):
            pytest.skip("whoever may enter everything is kept out of nothing")
        (found,) = installation.check_permissions(looked_at)
    finally:
        live.chmod(0o700)
    assert found.state == ERROR
    assert "chown" in found.remedy
    assert str(live) in found.message


@pytest.mark.parametrize(("text", "until"), [(SHORT, "2036-11-20"), (LONG, "2126-10-30"), (LONG + SHORT, "2126-10-30")])
def test_the_end_of_a_certificate_is_read(text: str, until: str, tmp_path: Path) -> None:
    file = tmp_path / "fullchain.pem"
    file.write_text(text)
    assert f"{valid_until(file):%Y-%m-%d}" == until


@pytest.mark.parametrize("text", ["", "nonsense", SHORT[:80], SHORT.replace("MII", "AAA"), SHORT[:200] + SHORT[-30:]])
def test_what_is_no_certificate_is_said_to_be_none(text: str, tmp_path: Path) -> None:
    file = tmp_path / "fullchain.pem"
    file.write_text(text)
    with pytest.raises(NotACertificateError):
        valid_until(file)


@pytest.mark.parametrize(
    ("before", "state"), [(timedelta(days=60), OK), (timedelta(days=20), WARNING), (timedelta(days=-1), ERROR)]
)
def test_a_certificate_is_to_be_renewed_in_time(
    before: timedelta, state: str, tmp_path: Path, subject: Subject
) -> None:
    (tmp_path / "fullchain.pem").write_text(SHORT)
    looked_at = Subject(paths=subject.paths, runtime=subject.runtime, groups=(), certificates=tmp_path)
    end = datetime(2036, 11, 20, 0, 39, 6, tzinfo=UTC)
    (found,) = installation.check_certificates(looked_at, now=end - before)
    assert found.state == state
    (missing,) = installation.check_certificates(
        Subject(paths=subject.paths, runtime=subject.runtime, groups=(), certificates=tmp_path / "none")
    )
    assert missing.state == ERROR


def test_a_clock_that_was_put_back_shows_in_files_of_the_future(subject: Subject) -> None:
    assert states(machine.check_clock(subject)) == [("clock", OK)]
    file = subject.paths.var / "control" / "state.json"
    file.parent.mkdir()
    file.write_text("{}")
    os.utime(file, (time.time() + 3600, time.time() + 3600))
    assert states(machine.check_clock(subject)) == [("clock", ERROR)]


def test_a_name_that_nobody_knows_is_said_so(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(name: str, _: None) -> list[object]:
        if name != "localhost":
            raise OSError("no such name")
        return []

    monkeypatch.setattr(socket, "getaddrinfo", asked)
    looked_at = Subject(paths=subject.paths, runtime=subject.runtime, groups=(), hosts=("s3.invalid",))
    (found,) = machine.check_names(looked_at)
    assert (found.state, found.message) == (ERROR, "the name s3.invalid is not found")
    assert states(machine.check_names(subject)) == [("dns", OK)]


def test_a_resolver_that_hangs_is_not_waited_for(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "NAME_SECONDS", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: time.sleep(1))
    began = time.monotonic()
    assert states(machine.check_names(subject)) == [("dns", ERROR)]
    assert time.monotonic() - began < 0.9


def test_names_of_other_machines_are_found_in_addresses() -> None:
    found = hosts_of(
        {"OLLAMA_URL": "http://gpu.local:11434"},
        "s3:https://s3.example.org/bucket",
        "sftp:me@box.example.org:/srv",
        "rest:http://rest.example.org:8000/",
        "/srv/repository",
    )
    assert found == ("gpu.local", "s3.example.org", "box.example.org", "rest.example.org")


def test_limits_of_the_kernel(subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "KERNEL", tmp_path)
    assert states(machine.check_kernel(subject)) == [("kernel", OK)]
    (tmp_path / "net/core").mkdir(parents=True)
    (tmp_path / "vm").mkdir()
    (tmp_path / "net/core/somaxconn").write_text("128")
    (tmp_path / "vm/overcommit_memory").write_text("2")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    found = list(machine.check_kernel(subject))
    assert [finding.state for finding in found] == [ERROR, WARNING, WARNING]
    assert all(finding.remedy for finding in found)


@pytest.mark.parametrize(
    ("said", "state", "message"),
    [
        ("NVIDIA L4, 2 GiB, 24 GiB", OK, "NVIDIA L4, 2 GiB free of 24 GiB"),
        ("Card, the second, 2 GiB, 24 GiB", OK, "Card, the second, 2 GiB free of 24 GiB"),
        ("No devices were found", WARNING, "its driver says: No devices were found"),
    ],
)
def test_what_a_driver_of_graphics_cards_says(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, state: str, message: str
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(machine, "NVIDIA", program)
    assert [(found.state, found.message) for found in machine.check_gpu(subject)] == [(state, message)]


@pytest.fixture
def running(subject: Subject) -> Placed:
    assert isinstance(subject.runtime, Placed)
    subject.runtime.apply(subject.groups[0])
    return subject.runtime


def test_services_that_are_well_have_no_finding(subject: Subject, running: Placed) -> None:
    assert list(services.check_services(subject)) == []


def test_a_service_that_died_lately_is_named_with_the_classic_it_died_of(subject: Subject, running: Placed) -> None:
    running.happened.append(Happening("store", time.time() - 60, Happened.ENDED, "exit status 1"))
    running._stack(subject.groups[0]).log["store"].append("PermissionError: [Errno 13] Permission denied: '/data'")
    found = list(services.check_services(subject))
    assert [(finding.name, finding.state) for finding in found] == [("service", WARNING), ("symptom", ERROR)]
    assert found[0].message == "tiny/store ended by itself in the last day: exit status 1 (once)"
    assert found[1].message.startswith("permission error at tiny/store: PermissionError")


def test_a_service_out_of_memory_is_named(subject: Subject, running: Placed) -> None:
    killed = Happening("middle", time.time() - 60, Happened.OUT_OF_MEMORY, "used more than its limit")
    running.happened += [killed, killed]
    (found,) = services.check_services(subject)
    assert (found.state, found.message) == (
        ERROR,
        "tiny/middle ran out of memory and was killed, 2 times in the last day",
    )


def test_what_the_engine_forgot_was_written_down_and_is_told_once(subject: Subject, running: Placed) -> None:
    at = time.time() - 60
    written = Happening("middle", at, Happened.ENDED, "exit status 1")
    running.happened.append(written)
    older = Happening("middle", at - 7200, Happened.ENDED, "exit status 1")
    looked_at = replace(subject, recorded={"tiny": [older, written]})
    assert "exit status 1 (2 times)" in next(services.check_services(looked_at)).message


def test_a_failed_service_can_be_started_from_its_finding(subject: Subject, running: Placed) -> None:
    running.stop(subject.groups[0], services=["store"])
    running._stack(subject.groups[0]).failed["store"] = "gave up starting"
    found = {finding.name: finding for finding in services.check_services(subject)}
    assert found["service"].fix == "start:tiny/store"
    assert "gave up starting" in found["service"].message
    assert found["service"].remedy == "read manage.py logs tiny/store; manage.py up starts it again"


def test_a_failed_service_of_somebody_elses_project_is_started_with_its_own_stack(
    subject: Subject, running: Placed
) -> None:
    running._stack(subject.groups[0]).failed["store"] = "gave up starting"
    running.stop(subject.groups[0], services=["middle"])
    running._stack(subject.groups[0]).up.pop("store")
    shop = replace(subject.groups[0], foreign=Foreign(("compose.yaml",)))
    found = {finding.name: finding for finding in services.check_services(replace(subject, groups=[shop]))}
    assert found["service"].remedy.endswith("manage.py stacks start tiny starts it again")


def test_a_stack_whose_files_cannot_be_read_keeps_nothing_else_from_being_looked_at(subject: Subject) -> None:
    broken = Finding("stack", ERROR, "shop: services: expected a mapping", "correct the file")
    found = examine(replace(subject, unread=[broken]))
    assert found[0] == broken
    assert len(found) > 5


def test_everything_has_a_remedy_and_a_check_that_fails_is_a_finding(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/proc/meminfo")

    monkeypatch.setattr(Path, "read_text", refuse)
    found = examine(subject)
    assert all(finding.remedy for finding in found if finding.state != OK)
    assert [finding.message for finding in found if finding.name == "memory"] == ["/proc/meminfo: Permission denied"]
