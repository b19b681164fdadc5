"""What of a project reaches beyond it is told, each thing once and in words."""

from __future__ import annotations

from typing import Any

import pytest

from portal.runtime.compose.foreign.needs import needs

FOLDER = "/var/ragkeep/stacks/shop/source"
BIND = {"type": "bind", "target": "/x"}

CASES: dict[str, tuple[dict[str, Any], str]] = {
    "privileged": ({"privileged": True}, "privileged"),
    "privileged hook": ({"post_start": [{"command": "a", "privileged": True}]}, "privileged command"),
    "api socket": ({"use_api_socket": True}, "Docker's socket"),
    "socket": ({"volumes": [{**BIND, "source": "/var/run/docker.sock"}]}, "mounts the socket"),
    "host folder": ({"volumes": [{**BIND, "source": "/etc", "read_only": True}]}, "reads /etc"),
    "host folder to write": ({"volumes": [{**BIND, "source": "/srv"}]}, "writes to /srv"),
    "beside the folder": ({"volumes": [{**BIND, "source": f"{FOLDER}-other"}]}, "writes to"),
    "above the folder": ({"volumes": [{**BIND, "source": f"{FOLDER}/../../rag/secrets"}]}, "writes to"),
    "network": ({"network_mode": "host"}, "network of this host"),
    "network of a container": ({"network_mode": "container:rag-nginx-1"}, "container rag-nginx-1"),
    "processes": ({"pid": "host"}, "process list"),
    "memory": ({"ipc": "host"}, "memory segments"),
    "host name": ({"uts": "host"}, "host name"),
    "accounts": ({"userns_mode": "host"}, "accounts"),
    "control groups": ({"cgroup": "host"}, "control groups"),
    "devices": ({"devices": ["/dev/mem:/dev/mem"]}, "/dev/mem"),
    "device rules": ({"device_cgroup_rules": ["c 1:1 rwm"]}, "rules about devices"),
    "capabilities": ({"cap_add": ["SYS_ADMIN"]}, "SYS_ADMIN"),
    "seccomp": ({"security_opt": ["seccomp:unconfined"]}, "seccomp:unconfined"),
    "apparmor": ({"security_opt": ["apparmor=unconfined"]}, "apparmor=unconfined"),
    "runtime": ({"runtime": "runc-wide"}, "runc-wide"),
    "volumes of a container": ({"volumes_from": ["container:rag-postgres-1:ro"]}, "rag-postgres-1"),
    "build": ({"build": {"context": ".", "network": "host"}}, "built in the network"),
    "build rights": ({"build": {"context": ".", "entitlements": ["security.insecure"]}}, "further rights"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_service_that_reaches_beyond_its_project(case: str) -> None:
    config, words = CASES[case]
    (found,) = needs({"services": {"web": config}}, "shop", FOLDER)
    assert found.service == "web"
    assert words in str(found)


@pytest.mark.parametrize(
    ("kind", "definition"),
    [
        ("volumes", {"name": "rag_postgres", "external": True}),
        ("volumes", {"name": "rag_postgres"}),
        ("volumes", {"name": "shop_a", "driver_opts": {"type": "none", "o": "bind", "device": "/etc"}}),
        ("networks", {"name": "rag_backend", "external": True}),
        ("networks", {"name": "shop_lan", "driver": "macvlan"}),
    ],
)
def test_what_the_project_shares_with_others(kind: str, definition: dict[str, Any]) -> None:
    (found,) = needs({"services": {}, kind: {"a": definition}}, "shop", FOLDER)
    assert found.service == ""
    assert (definition.get("driver_opts") or {}).get("device", definition["name"]) in str(found)


def test_an_ordinary_project_needs_nobody() -> None:
    web = {
        "image": "a",
        "volumes": [{**BIND, "source": f"{FOLDER}/data"}, {"type": "volume", "source": "data", "target": "/data"}],
        "security_opt": ["no-new-privileges:true"],
        "network_mode": "service:other",
        "cap_drop": ["ALL"],
    }
    model = {
        "services": {"web": web},
        "volumes": {"data": {"name": "shop_data"}},
        "networks": {"default": {"name": "shop_default"}},
    }
    assert needs(model, "shop", FOLDER) == []
