"""What `clean` takes back of the names that releases gave to images; and how a lost image of a release is named."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from config.cli.clean import kept_names
from portal.runtime.compose import keeping, rendering
from portal.runtime.compose.comparison import Wanted

NAMED, PINNED = "registry.example.org/web:1", f"registry.example.org/web@sha256:{'a' * 64}"


def test_only_names_of_releases_of_this_installation_are_taken_back(tmp_path: Path) -> None:
    releases, stack = tmp_path / "control" / "secrets" / "releases", tmp_path / "stacks" / "my-shop"
    releases.mkdir(parents=True)
    (stack / "compose").mkdir(parents=True)
    for name in ("my-shop-3.sealed", "my-shop-12.sealed", "gone-1.sealed", "key"):
        (releases / name).touch()
    (stack / "deployed.json").write_text(json.dumps({"images": {"web": "sha256:1"}}))
    (stack / "compose" / "deployed.json").write_text(json.dumps({"services": {"web": {}, "old": {}}}))
    assert kept_names(tmp_path) == {
        f"ragkeep/kept:my-shop-{service}-{number}" for service in ("web", "old") for number in (3, 12)
    }
    (stack / "deployed.json").write_text("{")
    assert len(kept_names(tmp_path)) == 4


@pytest.mark.parametrize(
    ("here", "named"),
    [
        ({NAMED: "sha256:1", PINNED: "sha256:1"}, NAMED),
        ({NAMED: "sha256:2", PINNED: "sha256:1"}, PINNED),
        ({NAMED: "sha256:2"}, PINNED),
        ({}, PINNED),
    ],
    ids=["as it was", "the name means another one", "lost, the name means another one", "lost with its name"],
)
def test_a_release_names_its_image_for_good_unless_the_name_still_means_it(here: dict[str, str], named: str) -> None:
    docker: Any = SimpleNamespace(engine=SimpleNamespace(image_id=lambda name: here.get(name, "")))
    view: Any = SimpleNamespace(spec=SimpleNamespace(project="shop"))
    config = {"image": NAMED}
    wanted = Wanted("web", config, "", {}, "", PINNED, here.get(PINNED, ""))
    found = rendering._pinned(docker, view, {"services": {"web": config}}, {"web": wanted}, {})
    assert found["services"]["web"]["image"] == named


@pytest.mark.parametrize(
    ("tags", "taken"),
    [(["kept:1"], ["kept:1", PINNED]), (["kept:1", NAMED], ["kept:1"]), (["kept:1", "kept:2"], ["kept:1"]), (None, [])],
    ids=["its last name", "it has its own name too", "another release needs it", "gone already"],
)
def test_an_image_without_another_name_goes_with_what_a_registry_knows_it_by(
    tags: list[str] | None, taken: list[str]
) -> None:
    ran: list[str] = []
    found = {"RepoTags": tags, "RepoDigests": [PINNED]} if tags else None
    engine = SimpleNamespace(get=lambda _: found)
    docker: Any = SimpleNamespace(engine=engine, run=lambda words, check: ran.append(words[-1]))
    keeping.let_go(docker, ["kept:1"])
    assert ran == taken
