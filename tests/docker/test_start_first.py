"""A service that is replaced start-first never fails a request, whatever becomes of its successor or of who deploys."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from backups import process
from portal.runtime.compose import ComposeRuntime
from portal.runtime.compose.client import Docker
from portal.runtime.errors import ScaleRefusedError, ServiceFailedError
from portal.runtime.paths import CHECKOUT, RuntimePaths
from portal.runtime.ports import free_ports
from portal.runtime.protocol import Action, State
from portal.runtime.spec import StackSpec
from tests.support import small_site
from tests.support.docker_engine import Engine
from tests.support.servers import wait_until
from tests.support.sleepers import APPLY, ids

pytestmark = [pytest.mark.docker, pytest.mark.timeout(400)]


@dataclass(frozen=True)
class Site:
    """The stack of tests/support/small_site.py, release `a` deployed."""

    engine: Engine
    runtime: ComposeRuntime
    folder: Path
    project: str
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def release(self, mark: str, *, count: int = 1, **environment: str) -> StackSpec:
        return small_site.written(self.folder, self.project, mark, count=count, **environment).derive(
            base_port=self.port
        )

    def web(self) -> list[str]:
        """The containers of the web server, stopped ones too."""
        return sorted(ids(self.engine, self.project).get("web", []))

    def listed(self) -> list[str]:
        """The addresses that nginx sends requests to."""
        (edge,) = ids(self.engine, self.project)["edge"]
        text = self.engine.docker("exec", edge, "cat", "/run/nginx/instances/web.conf").stdout
        return sorted(line.split()[1] for line in text.splitlines())

    def addresses(self) -> list[str]:
        """Those of the web server's containers that run."""
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        told = self.engine.docker("inspect", "--format", template, *self.web()).stdout.split()
        return sorted(f"{address}:{small_site.PORT}" for address in told)


@pytest.fixture(scope="module")
def runtime(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> ComposeRuntime:
    small_site.build_images(engine)
    return ComposeRuntime(RuntimePaths(tmp_path_factory.mktemp("var")), Docker(engine.host, engine.config))


@pytest.fixture
def site(runtime: ComposeRuntime, engine: Engine, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    (port,) = free_ports(1)
    found = Site(engine, runtime, tmp_path, f"s{abs(hash(request.node.name)) % 10**8}", port)
    spec = found.release("a")
    try:
        runtime.apply(spec)
        yield found
    finally:
        runtime.remove(spec, data=True)


def test_the_old_one_serves_until_the_new_one_is_healthy_and_ends_when_it_is_done(site: Site) -> None:
    before = ids(site.engine, site.project)
    said: list[str] = []
    stream = threading.Thread(target=lambda: said.append(httpx.get(f"{site.url}stream?8", timeout=30).text))
    with small_site.steady(site.url) as load:
        stream.start()
        plan = site.runtime.apply(site.release("b", DELAY="2"))
        stream.join(1)
        assert not stream.is_alive(), "nothing is left to wait for after a deploy"
    assert [(change.service, change.action) for change in plan.changes][:1] == [("web", Action.RECREATE)]
    assert load.faults == []
    assert set(load.answers) == {"a", "b"}
    assert load.answers["a"] > 40, "the old one served for the two seconds that the new one took, and more"
    assert said[0].endswith("a done"), "what lasted longer was not cut off"

    after = ids(site.engine, site.project)
    assert after["edge"] == before["edge"]
    assert len(after["web"]) == 1
    assert after["web"] != before["web"]
    assert site.listed() == site.addresses()
    assert site.runtime.plan(site.release("b", DELAY="2")).is_empty


def test_the_new_one_stands_back_for_a_processor_until_it_serves(site: Site) -> None:
    (old,) = site.web()

    def weights() -> dict[str, str]:
        told = site.engine.docker("inspect", "--format", "{{.Id}} {{.HostConfig.CpuShares}}", *site.web()).stdout
        return {name[: len(old)]: shares for name, shares in (line.split() for line in told.splitlines())}

    deploy = threading.Thread(target=site.runtime.apply, args=(site.release("b", DELAY="4"),))
    deploy.start()
    wait_until(lambda: "128" in weights().values(), what="the new one", seconds=30)
    assert weights()[old] != "128"
    deploy.join(60)
    assert list(weights().values()) == ["1024"]


def test_composes_own_command_line_takes_what_was_replaced_for_its_own(site: Site) -> None:
    spec = site.release("b")
    site.runtime.apply(spec)
    before = ids(site.engine, site.project)
    file = site.runtime.paths.root(site.project) / "compose" / "compose.json"
    words = ["compose", "--project-name", site.project, "--file", str(file)]
    told = json.loads(site.engine.docker(*words, "ps", "--format", "json", "web").stdout.splitlines()[0])
    assert (told["Service"], told["State"]) == ("web", "running")
    site.engine.docker(*words, "up", "--detach", "--no-build", "--no-deps", "web")
    assert ids(site.engine, site.project) == before
    site.engine.docker(*words, "restart", "web")
    assert site.runtime.plan(spec).is_empty


@pytest.mark.parametrize("delay", ["-1", "no number"])
def test_a_new_one_that_does_not_come_up_goes_and_the_old_one_was_never_touched(site: Site, delay: str) -> None:
    before, lists = ids(site.engine, site.project), site.listed()
    broken = site.release("b", DELAY=delay)
    refused = pytest.raises(ServiceFailedError, match=r"(?s)service web .*(delayed|no number)")
    with small_site.steady(site.url) as load, refused as failed:
        site.runtime.apply(broken, timeout=6)
    assert failed.value.service == "web"
    assert (load.faults, set(load.answers)) == ([], {"a"})
    assert ids(site.engine, site.project) == before
    assert site.listed() == lists
    changes = {change.service: change.reason for change in site.runtime.plan(broken).changes}
    assert changes == {"web": "its environment (DELAY and MARK) changed", "edge": "runs as described"}
    assert site.runtime.plan(site.release("a")).is_empty


def test_whoever_takes_over_finishes_or_undoes_what_a_killed_deploy_began(site: Site) -> None:
    with small_site.steady(site.url) as load:
        for number, seconds in enumerate((1.0, 1.7, 2.4, 3.1, 3.8, 4.5), start=1):
            spec = site.release(str(number))
            words = [str(site.runtime.paths.var), str(spec.file), site.project]
            words += [site.engine.host, str(site.engine.config)]
            with process.Running([sys.executable, "-c", APPLY, *words], cwd=CHECKOUT) as applying:
                with contextlib.suppress(process.ProcessError):
                    applying.wait(seconds)
                applying.kill()
            site.runtime.apply(spec)
            assert len(site.web()) == 1
            assert site.listed() == site.addresses()
            assert httpx.get(site.url, trust_env=False).text == str(number)
            assert site.runtime.plan(spec).is_empty
    assert load.faults == []


def test_more_and_fewer_of_a_service_without_a_failed_request(site: Site) -> None:
    spec = site.release("a")
    with small_site.steady(site.url) as load:
        site.runtime.scale(spec, "web", 3)
        assert len(site.web()) == 3
        assert site.listed() == site.addresses()
        assert site.runtime.plan(spec).is_empty
        site.runtime.apply(site.release("b"))
        assert len(site.web()) == 3
        assert site.listed() == site.addresses()
        site.runtime.scale(site.release("b"), "web", 1)
        assert len(site.web()) == 1
        assert site.listed() == site.addresses()
    assert load.faults == []
    assert site.runtime.plan(site.release("b")).is_empty
    with pytest.raises(ScaleRefusedError, match="it has the port of this host"):
        site.runtime.scale(spec, "edge", 2)


def test_a_service_created_anew_keeps_serving(site: Site) -> None:
    before = site.web()
    with small_site.steady(site.url) as load:
        site.runtime.recreate(site.release("a"), "web")
    assert load.faults == []
    assert not set(before) & set(site.web())
    assert site.runtime.plan(site.release("a")).is_empty


def test_addresses_that_changed_behind_our_back_are_put_right(site: Site) -> None:
    spec = site.release("a", count=2)
    site.runtime.apply(spec)
    first = site.web()[0]
    site.engine.docker("rm", "--force", first)
    site.runtime.reconcile(spec)
    assert site.listed() == site.addresses()
    assert len(site.listed()) == 1
    site.engine.docker("restart", *ids(site.engine, site.project)["edge"])
    wait_until(lambda: _answers(site.url), what="the entrance", seconds=10)
    assert site.listed() == [f"web:{small_site.PORT}"], "after its own restart it finds them by name"
    site.runtime.reconcile(spec)
    assert site.listed() == site.addresses()


def test_while_it_is_stopped_callers_hear_so_at_once(site: Site) -> None:
    spec = site.release("a")
    site.runtime.stop(spec, services=["web"])
    with httpx.Client(trust_env=False, timeout=2) as client:
        assert client.get(site.url).status_code == 502
    site.runtime.apply(spec)
    assert httpx.get(site.url, trust_env=False).text == "a"
    assert {status.state for status in site.runtime.status(spec)} == {State.HEALTHY}


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, trust_env=False, timeout=2).status_code == 200
    return False
