"""What the files of a project take as variables, and what its own `.env` says of them; for the worker, which has it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from portal.core import places
from portal.runtime.compose.foreign.model import source_of
from portal.runtime.compose.foreign.scan import RESERVED, pairs, scan
from portal.runtime.spec import StackSpec
from portal.stacks.variables import Variable, masked

USED = re.compile(r"\$(?:\$|\{(?P<name>[A-Za-z_]\w*)(?P<rest>[^}]*)\}?|(?P<bare>[A-Za-z_]\w*))", re.ASCII)
LINE = re.compile(r"^\s*(?:export\s+)?(?P<name>[A-Za-z_]\w*)\s*=[ \t]*(?P<value>.*?)\s*$", re.ASCII | re.MULTILINE)
# Shorter values would turn up by chance in the middle of other words.
TELLING_LENGTH = 6
# Name of a variable, and what it is where nothing says otherwise.
Use = tuple[str, str]


def project_variables(spec: StackSpec) -> list[Variable]:
    """The variables of a project's files, in their order; the default of each is what `.env` or the files say, secrets
    masked.

    Raises:
        StackFileError: the files cannot be read, or lead out of the project's folder.
    """
    assert spec.foreign is not None
    folder = source_of(spec)
    present = [name for name in spec.foreign.env_files if (folder / name).is_file()]
    looked = scan(folder, spec.foreign.files, present)
    first = [(folder / name).resolve() for name in spec.foreign.files]
    files = [file for file in first if file in looked.seen] + sorted(looked.seen - set(first))
    return found_in(
        [yaml.compose(file.read_text("utf-8"), Loader=yaml.SafeLoader) for file in files], given(folder, present)
    )


def project_secrets(spec: StackSpec) -> list[str]:
    """The values of a project's variables that sound like secrets, as its files and its settings have them."""
    assert spec.foreign is not None
    folder = source_of(spec)
    present = [name for name in spec.foreign.env_files if (folder / name).is_file()]
    told = [*given(folder, present).items(), *places.given_settings(places.location(spec)).items()]
    return [value for name, value in told if len(value) >= TELLING_LENGTH and Variable(name, "", ()).is_secret]


def found_in(documents: Sequence[Node | None], told: Mapping[str, str]) -> list[Variable]:
    """The variables that parsed files take. `told`: what the project's own files of variables say."""
    defaults, users = dict[str, str](), dict[str, list[str]]()
    for service, (name, default) in (use for document in documents if document for use in _uses(document)):
        if RESERVED.match(f"{name}="):
            continue
        defaults[name] = defaults.get(name) or default
        users.setdefault(name, []).append(service)
    bare = [Variable(name, "", tuple(dict.fromkeys(filter(None, names))), known=False) for name, names in users.items()]
    return [
        Variable(one.name, masked(one, told.get(one.name) or defaults[one.name]), one.services, known=False)
        for one in bare
    ]


def given(folder: Path, env_files: Sequence[str]) -> dict[str, str]:
    """What files of variables say, the last one first heard; quotation marks around a value are left out."""
    found: dict[str, str] = {}
    for name in env_files:
        for line in LINE.finditer((folder / name).read_text("utf-8", errors="replace")):
            text = line["value"]
            quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
            found[line["name"]] = text[1:-1] if quoted else text.partition(" #")[0].rstrip()
    return found


def _uses(document: Node) -> Iterator[tuple[str, Use]]:
    """Every use of a variable with the service it is in, empty for what is in none."""
    for key, value in pairs(document):
        if key.value == "services":
            for name, service in pairs(value):
                yield from ((name.value, use) for use in (*_in_texts(service, set()), *_passed_on(service)))
        else:
            yield from (("", use) for use in _in_texts(value, set()))
            if key.value in ("secrets", "configs"):
                yield from (("", (node.value, "")) for node in _named_environment(value))


def _named_environment(node: Node) -> Iterator[ScalarNode]:
    """What secrets and configs name as the variable they are taken from."""
    for _, definition in pairs(node):
        for key, value in pairs(definition):
            if key.value == "environment" and isinstance(value, ScalarNode):
                yield value


def _passed_on(service: Node) -> Iterator[Use]:
    """Variables that a service is given under their own name."""
    for key, value in pairs(service):
        if key.value != "environment":
            continue
        for name, text in pairs(value):
            if isinstance(text, ScalarNode) and text.tag.endswith(":null"):
                yield name.value, ""
        if isinstance(value, SequenceNode):
            yield from (
                (one.value, "") for one in value.value if isinstance(one, ScalarNode) and one.value.isidentifier()
            )


def _in_texts(node: Node, seen: set[int]) -> Iterator[Use]:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, ScalarNode):
        yield from _in_text(node.value)
    elif isinstance(node, MappingNode):
        for key, value in node.value:
            yield from (*_in_texts(key, seen), *_in_texts(value, seen))
    elif isinstance(node, SequenceNode):
        for inner in node.value:
            yield from _in_texts(inner, seen)


def _in_text(text: str) -> Iterator[Use]:
    for found in USED.finditer(text):
        rest = found["rest"] or ""
        if name := found["name"] or found["bare"]:
            default = rest.lstrip(":")
            yield name, default[1:] if default.startswith("-") and "$" not in default else ""
        if "$" in rest:
            yield from _in_text(f"{rest}}}")
