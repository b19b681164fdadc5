"""Images from a real registry: deployed, found newer, fetched anew, and rolled back to by their digest."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from pytest_django import Settings

from backups import process
from config.chosen import COMPOSE, Chosen, write_chosen
from config.cli import clean
from portal.core import places
from portal.operations.models import State
from portal.runtime.compose import registry as asking
from portal.runtime.compose.client import Docker
from portal.runtime.compose.registry import RegistryError
from portal.runtime.paths import RuntimePaths
from portal.runtime.state import StackState, write_state
from portal.stacks.models import ImageLook, Release
from tests.docker import test_projects as projects
from tests.docker.test_projects import NAME, SLEEP, Site, good, run
from tests.support import tiny_stack
from tests.support.docker_engine import Engine
from tests.support.registry import PASSWORD, Registry, registry

pytestmark = [pytest.mark.docker, pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

site = projects.site
OLD, NEW = "ragkeep/tiny:first", "ragkeep/tiny:second"


@dataclass(frozen=True, slots=True)
class Store:
    """A registry, and the engine with a client that is signed in there."""

    registry: Registry
    engine: Engine

    def name(self, image: str) -> str:
        return self.registry.name(image)

    def push(self, source: str, image: str) -> str:
        return self.registry.push(self.engine, source, image)


@pytest.fixture(scope="module")
def server(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One registry for all tests: what they push is mostly the same."""
    with registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
def store(server: Registry, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A part of the registry for this test, with which the portal is signed in, and two images to push that differ in
    a label; the engine is left without a name of it."""
    mine = replace(server, prefix=f"t{secrets.token_hex(3)}/")
    for tag in (OLD, NEW):
        text = f"FROM {tiny_stack.IMAGE}\nLABEL which={tag}\n"
        process.run(["docker", "build", "--tag", tag, "-"], env=site.engine.environ, stdin=text, timeout=120)
    signed_in = mine.sign_in(site.engine, tmp_path / "docker")
    monkeypatch.setenv("DOCKER_CONFIG", str(signed_in.config))
    found = Store(mine, signed_in)
    try:
        yield found
    finally:
        form = "{{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}"
        told = site.engine.docker("image", "ls", "--digests", "--format", form).stdout.split()
        forget(site, *(name for name in told if name.startswith(found.name("")) and "<none>" not in name), OLD, NEW)


def forget(site: Site, *names: str) -> None:
    """Have the engine lose an image, whatever names it has."""
    for name in names:
        site.engine.docker("rmi", "--force", name, check=False)


def is_here(engine: Engine, name: str) -> bool:
    return engine.has_image(name)


def names_of(site: Site, store: Store) -> list[str]:
    """What the engine has of the registry, each as `repository@digest`."""
    told = site.engine.docker("image", "ls", "--digests", "--format", "{{.Repository}}@{{.Digest}}").stdout.split()
    return [name for name in told if name.startswith(store.name(""))]


def deployed(site: Site, store: Store) -> tuple[str, str]:
    """Deploy the old image from the registry, which then gets the new one under the same name, and another version;
    returns the digests of both."""
    name = store.name("shop:1.0.0")
    old = store.push(OLD, "shop:1.0.0")
    forget(site, OLD)
    assert not is_here(site.engine, name)
    site.write({"web": {**SLEEP, "image": name}})
    projects.add(site)
    good(run("project.fetch"))
    assert good(run("stack.deploy"))["changes"] == {"web": "create"}
    assert served(site) == (OLD, f"{store.name('shop')}@{old}")
    new = push_behind_the_back(site, store)
    return old, new


def push_behind_the_back(site: Site, store: Store) -> str:
    """The new image under the same name, pushed from elsewhere: the name means the old one here as before."""
    name = store.name("shop:1.0.0")
    before = site.engine.image_id(name)
    store.push(NEW, "shop:1.2.0")
    new = store.push(NEW, "shop:1.0.0")
    site.engine.docker("tag", before, name)
    forget(site, NEW)
    return new


def served(site: Site) -> tuple[str, str]:
    """Which image runs, by its label, and what the release that serves has recorded of it."""
    inspected = site.inspect("web")
    return inspected["Config"]["Labels"]["which"], Release.objects.get(state="current").images["web"]["id"]


def test_what_is_newer_is_found_told_and_fetched_on_demand(site: Site, store: Store) -> None:
    old, new = deployed(site, store)
    assert good(run("stack.plan"))["plan"]["nothing"] is True, "a plan asks no registry"
    assert good(run("stack.updates")) == {"images": 1, "newer_images": 1, "newer_versions": 1, "not_told": 0}
    look = ImageLook.objects.get()
    assert (look.digest, look.newer_digest, look.newer_tag, look.fault) == (old, new, "1.2.0", "")
    assert not is_here(site.engine, f"{store.name('shop')}@{new}"), "looking fetches nothing"
    assert good(run("stack.deploy"))["changes"] == {}
    assert served(site)[0] == OLD, "nothing is fetched anew unless somebody says so"
    assert good(run("stack.deploy", pull=True))["changes"] == {"web": "recreate"}
    assert served(site) == (NEW, f"{store.name('shop')}@{new}")
    assert good(run("stack.updates"))["newer_images"] == 0
    assert good(run("stack.plan"))["plan"]["nothing"] is True


@pytest.mark.parametrize("tag", ["means another image", "is gone"])
def test_a_rollback_fetches_a_lost_image_by_its_digest(site: Site, store: Store, tag: str) -> None:
    old, new = deployed(site, store)
    good(run("stack.deploy", pull=True))
    by_digest = f"{store.name('shop')}@{old}"
    forget(site, f"ragkeep/kept:{NAME}-web-1", by_digest)
    if tag == "is gone":
        site.engine.docker("rmi", store.name("shop:1.0.0"))
    assert not is_here(site.engine, by_digest)
    good(run("stack.rollback", release=1))
    assert served(site) == (OLD, by_digest)
    assert is_here(site.engine, f"ragkeep/kept:{NAME}-web-3")
    places.runtime().let_images_go([f"ragkeep/kept:{NAME}-web-2"])
    newer = [line for line in names_of(site, store) if line.endswith(new)]
    assert bool(newer) is (tag == "means another image"), "it goes with its last name"
    restarted = site.containers()
    good(run("stack.start"))
    assert site.containers() == restarted, "it runs as the release says"


def test_without_its_images_nothing_that_runs_is_touched(
    site: Site, store: Store, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    old, _ = deployed(site, store)
    good(run("stack.deploy", pull=True))
    forget(site, f"ragkeep/kept:{NAME}-web-1", f"{store.name('shop')}@{old}")
    before = site.containers()
    images, away = store.registry.folder / "images", tmp_path / "away"
    shutil.move(images, away)
    request.addfinalizer(lambda: shutil.move(away, images))
    lost = run("stack.rollback", release=1)
    assert (lost.state, lost.error["code"]) == (State.FAILED, "image_missing")
    assert f"shop@{old} (service web)" in lost.error["message"]
    pulled = run("stack.deploy", pull=True)
    assert (pulled.state, pulled.error["code"]) == (State.FAILED, "compose_failed")
    looked = run("stack.updates")
    assert (looked.state, looked.result["not_told"]) == (State.SUCCEEDED, 1)
    assert ImageLook.objects.get().condition == "unknown"
    assert site.containers() == before
    assert served(site)[0] == NEW


def test_a_registry_is_asked_with_the_login_of_docker_and_tells_nothing_without(store: Store, tmp_path: Path) -> None:
    name, stranger = store.name("shop:1.0.0"), Docker(store.engine.host, tmp_path / "nowhere")
    pushed = store.push(OLD, "shop:1.0.0")
    assert store.push(OLD, "shop:1.1.0") == pushed
    for ask in (asking.digest, asking.tags):
        with pytest.raises(RegistryError) as refused:
            ask(stranger, name)
        assert PASSWORD not in refused.value.message
    assert asking.digest(Docker.discover(), name) == pushed
    assert sorted(asking.tags(Docker.discover(), name)) == ["1.0.0", "1.1.0"]


def test_clean_takes_back_the_names_of_kept_images(
    site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write({"web": SLEEP})
    projects.add(site)
    good(run("project.fetch"))
    good(run("stack.deploy"))
    mine, other = f"ragkeep/kept:{NAME}-web-1", f"ragkeep/kept:{NAME}-two-web-1"
    assert is_here(site.engine, mine)
    site.engine.docker("tag", tiny_stack.IMAGE, other)
    monkeypatch.setenv("RAGKEEP_VAR", str(site.var))
    chosen = Chosen(COMPOSE, "cleaned")
    write_chosen(site.var, chosen)
    write_state(RuntimePaths(site.var, control=chosen.portal_project).root("control"), StackState(ports={}))
    try:
        told = CliRunner().invoke(clean.command, ["--yes", "--json"])
        assert told.exit_code == 0, told.output
        assert "stacks" in json.loads(told.stdout)["removed"]
        assert not is_here(site.engine, mine)
        assert is_here(site.engine, other), "that of a stack of another installation"
        assert is_here(site.engine, tiny_stack.IMAGE)
    finally:
        forget(site, other)
