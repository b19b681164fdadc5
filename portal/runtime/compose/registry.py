"""What registries have: the digest that a name stands for by now, the tags there are, and images fetched from them.

Digests are asked of the Docker Engine, which knows its mirrors and which registries it may trust; tags over the HTTP
API of registries (github.com/opencontainers/distribution-spec), which no engine passes on. Both sign in as
`docker login` did.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

import httpx

from portal.runtime.compose import argv
from portal.runtime.compose.client import Docker
from portal.runtime.errors import ComposeFailedError, EngineGoneError, ImageMissingError, StackRuntimeError

HUB, HUB_ADDRESS, HUB_LOGIN = "docker.io", "registry-1.docker.io", "https://index.docker.io/v1/"
TIMEOUT = httpx.Timeout(20, connect=10)
PAGE, MOST_PAGES = 1000, 50
CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class RegistryError(StackRuntimeError):
    """A registry could not be asked, or would not say."""

    code = "registry"


@dataclass(frozen=True, slots=True)
class Reference:
    """The name of an image, taken apart: `postgres:18.4` is `docker.io`, `library/postgres`, `18.4`."""

    host: str
    path: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Any name that Docker takes; a digest in it is left out."""
        name = text.partition("@")[0]
        first, slash, rest = name.partition("/")
        is_host = bool(slash) and (first == "localhost" or "." in first or ":" in first)
        host, path = (first, rest) if is_host else (HUB, name)
        path, _, tag = path.partition(":")
        return cls(host, path if is_host or "/" in path else f"library/{path}", tag or "latest")


@dataclass(frozen=True, slots=True)
class Login:
    """Name and password at a registry; never shown."""

    user: str
    password: str = field(repr=False)


def login_of(docker: Docker, host: str) -> Login | None:
    """What `docker login` left in the client's folder for this registry; None where it did not, or left it to a program
    that keeps passwords."""
    try:
        known = json.loads((docker.config / "config.json").read_text(encoding="utf-8"))["auths"]
        names = (HUB_LOGIN,) if host == HUB else (host, f"https://{host}", f"https://{host}/v1/", f"https://{host}/v2/")
        kept = next(known[name] for name in names if name in known)
        user, _, password = base64.b64decode(kept["auth"]).decode("utf-8").partition(":")
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None
    return Login(user, password) if user and password else None


def digest(docker: Docker, reference: str) -> str:
    """The digest that the image's registry has under its name now.

    Raises:
        RegistryError: nobody could tell.
    """
    host, headers = Reference.parse(reference).host, dict[str, str]()
    if login := login_of(docker, host):
        told = {"username": login.user, "password": login.password, "serveraddress": HUB_LOGIN if host == HUB else host}
        headers["X-Registry-Auth"] = base64.urlsafe_b64encode(json.dumps(told).encode()).decode()
    try:
        found = docker.engine.digest(reference, headers)
    except EngineGoneError:
        raise RegistryError(f"{host} did not answer in time") from None
    except StackRuntimeError as refused:
        raise RegistryError(f"{host} did not tell of {reference}: {refused.message}") from None
    if not found:
        raise RegistryError(f"{host} has no {reference}")
    return found


def digests_here(docker: Docker, reference: str) -> list[str]:
    """The digests under which registries know an image of this host; empty for one that was built or loaded here."""
    found = docker.engine.get(f"/images/{quote(reference, safe='/:@')}/json") or {}
    return [str(name).partition("@")[2] for name in found.get("RepoDigests") or []]


def tags(docker: Docker, reference: str) -> list[str]:
    """Every tag that the image's registry has of it, or a mirror that the engine uses instead.

    Raises:
        RegistryError: nobody could tell.
    """
    wanted, said = Reference.parse(reference), ""
    login = login_of(docker, wanted.host)
    for door in _doors(docker, wanted.host):
        try:
            with _client(door) as client:
                return list(_tags(client, wanted.path, login if door.own else None))
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
            said = _reason(error)
            if door.own and isinstance(error, httpx.HTTPStatusError):
                break
    raise RegistryError(f"{wanted.host} did not tell its tags of {wanted.path}: {said}")


class _Door(NamedTuple):
    """An address to ask at; `own`: the registry's, not a mirror's; `verify`: its certificate has to be good."""

    address: str
    own: bool = True
    verify: bool = True


def _doors(docker: Docker, host: str) -> Iterator[_Door]:
    """Where to ask, in order."""
    known = (docker.engine.get("/info") or {}).get("RegistryConfig") or {}
    told = (known.get("IndexConfigs") or {}).get(host) or {}
    for mirror in told.get("Mirrors") or []:
        yield _Door(mirror, own=False)
    if host == HUB:
        yield _Door(f"https://{HUB_ADDRESS}")
    elif told.get("Secure") is False or _is_within(host, known.get("InsecureRegistryCIDRs") or []):
        yield _Door(f"https://{host}", verify=False)
        yield _Door(f"http://{host}")
    else:
        yield _Door(f"https://{host}")


def _is_within(host: str, networks: Collection[str]) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    with suppress(ValueError):
        address = ipaddress.ip_address("127.0.0.1" if name == "localhost" else name)
        return any(address in ipaddress.ip_network(network) for network in networks)
    return False


def _client(door: _Door) -> httpx.Client:
    # The site's proxy leads outside, never to this host.
    outside = not _is_within(urlsplit(door.address).netloc, ["127.0.0.0/8", "::1/128"])
    return httpx.Client(base_url=door.address, timeout=TIMEOUT, verify=door.verify, trust_env=outside)


def _tags(client: httpx.Client, path: str, login: Login | None) -> Iterator[str]:
    address, headers = f"/v2/{path}/tags/list?n={PAGE}", dict[str, str]()
    for _ in range(MOST_PAGES):
        answer = client.get(address, headers=headers)
        if answer.status_code == httpx.codes.UNAUTHORIZED and not headers:
            headers = {"Authorization": _authorization(client, answer, path, login)}
            answer = client.get(address, headers=headers)
        yield from (str(tag) for tag in answer.raise_for_status().json().get("tags") or [])
        onward = answer.links.get("next", {}).get("url", "")
        # What was signed in for goes to nobody else.
        address = urljoin(str(answer.url), onward)
        if not onward or urlsplit(address).netloc != answer.url.netloc.decode():
            return


def _authorization(client: httpx.Client, refusal: httpx.Response, path: str, login: Login | None) -> str:
    """What the registry wants to be shown: name and password, or a token that somebody it trusts gives for them."""
    scheme, _, told = refusal.headers.get("WWW-Authenticate", "").partition(" ")
    if scheme.lower() == "basic" and login:
        return "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
    if scheme.lower() != "bearer":
        refusal.raise_for_status()
    known = dict(CHALLENGE.findall(told))
    if urlsplit(known["realm"]).scheme != "https" and client.base_url.scheme == "https":
        raise ValueError("it wants a password to be sent in the open")
    asked = {"service": known.get("service", ""), "scope": f"repository:{path}:pull"}
    given = httpx.BasicAuth(login.user, login.password) if login else None
    answer = client.get(known["realm"], params=asked, auth=given).raise_for_status().json()
    return f"Bearer {answer.get('token') or answer['access_token']}"


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"it answered {error.response.status_code}"
    if isinstance(error, httpx.HTTPError):
        return str(error) or type(error).__name__
    return "its answer cannot be understood" if isinstance(error, KeyError | TypeError) else str(error)


def fetch_newest(docker: Docker, references: Collection[str]) -> None:
    """Have what the registries have under these names now, also where an image of that name is here.

    Raises:
        ComposeFailedError: one could not be fetched; those before it are here.
    """
    for reference in references:
        docker.run(argv.fetch(reference))


def fetch_lost(docker: Docker, images: Mapping[str, str]) -> None:
    """Fetch those of a release's images that are no longer here, by the digest that was recorded.

    Args:
        images: service -> what names its image for good.

    Raises:
        ImageMissingError: one has no digest of a registry, or its registry does not have it any more.
    """
    lost = {name: image for name, image in images.items() if not docker.engine.image_id(image)}
    said = ""
    for image in {image for image in lost.values() if "@" in image}:
        try:
            docker.run(argv.fetch(image))
        except ComposeFailedError as error:
            said += "".join(f"{line}\n" for line in error.said.splitlines()[-1:])
    lost = {name: image for name, image in lost.items() if not docker.engine.image_id(image)}
    if lost:
        raise ImageMissingError(lost, said)


def built_or_named(config: Mapping[str, Any]) -> str:
    """The name under which a registry has a service's image; empty for one that is built here."""
    return "" if config.get("build") else str(config.get("image") or "")
