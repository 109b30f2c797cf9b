"""YAML in which every value knows where it was written: plain values only, no code, bounded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from nst_nd.errors import ConfigError

# a batch of ten thousand jobs has some megabytes
MAX_BYTES = 2**25
# aliases let a few lines stand for billions of values; ten thousand jobs have some hundred thousand
MAX_VALUES = 1_000_000
MAX_DEPTH = 20

Place = tuple[str | int, ...]
Locate = Callable[[int], str]

_CORE = "tag:yaml.org,2002:"
_DATE = f"{_CORE}timestamp"
_SCALARS = frozenset(f"{_CORE}{name}" for name in ("str", "int", "float", "bool", "null"))
_COLLECTIONS = frozenset((f"{_CORE}map", f"{_CORE}seq"))


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the one in C, where there is one
    """Safe, and without dates: 2024-05-01 stays a word, as file names go."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _DATE]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class Marked:
    """A value of dicts, lists, words, numbers, booleans and None; where: for each place in it, where it was written."""

    value: Any
    where: dict[Place, str] = field(default_factory=dict)


def parse(text: str, locate: Locate) -> Marked:
    """The one YAML document in `text`; None where there is none. locate: line number (from 1) to words.

    Raises ConfigError, starting with where it is, for broken YAML, keys given twice or that are not words, tags, and
    more than MAX_VALUES values or MAX_DEPTH levels once aliases are followed.
    """
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise ConfigError(f"{locate(1)}: larger than {MAX_BYTES} bytes, which no config is")
    try:
        _check_depth(text, locate)
        root = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = min(mark.line, text.count("\n")) + 1 if mark else 1  # the end of the text counts to its last line
        raise ConfigError(f"{locate(line)}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{locate(1)}: not valid YAML: {str(error).splitlines()[0]}") from error
    if root is None:
        return Marked(None)
    reader = _Reader(locate)
    return Marked(reader.read(root, ()), reader.where)


def _check_depth(text: str, locate: Locate) -> None:
    """Before nodes are made of it, which the loader in C does by recursion."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise ConfigError(f"{locate(line)}: nested too deeply; allowed: {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Reader:
    """Walks the nodes once, following aliases and counting."""

    def __init__(self, locate: Locate) -> None:
        self.locate = locate
        self.where: dict[Place, str] = {}
        self.count = 0
        self.scalars = _Loader("")

    def read(self, node: yaml.Node, place: Place) -> Any:
        self.count += 1
        if self.count > MAX_VALUES or len(place) > MAX_DEPTH:
            raise self.error(node, f"too many values; allowed: {MAX_VALUES}, nested {MAX_DEPTH} deep, aliases followed")
        if node.tag not in _SCALARS | _COLLECTIONS:
            tag = node.tag.replace(_CORE, "!!")
            raise self.error(node, f"tag {tag} is not allowed; only plain words, numbers, lists and mappings are")
        self.where.setdefault(place, self.locate(node.start_mark.line + 1))
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*place, i)) for i, item in enumerate(node.value)]
        return self.scalar(node)

    def mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.read(key_node, ()) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                got = f"{key_node.value!r:.80}" if isinstance(key_node, yaml.ScalarNode) else "a collection"
                raise self.error(key_node, f"a key must be a word; got {got}")
            if key in values:
                raise self.error(key_node, f"{key}: given twice, first at {self.where[(*place, key)]}")
            self.where[(*place, key)] = self.locate(key_node.start_mark.line + 1)
            values[key] = self.read(value_node, (*place, key))
        return values

    def scalar(self, node: yaml.Node) -> Any:
        try:
            return self.scalars.construct_object(node)
        except (ValueError, KeyError, yaml.YAMLError) as error:
            what = node.tag.removeprefix(_CORE)
            raise self.error(node, f"got {node.value!r:.80}, which cannot be read as {what}") from error

    def error(self, node: yaml.Node, message: str) -> ConfigError:
        return ConfigError(f"{self.locate(node.start_mark.line + 1)}: {message}")
