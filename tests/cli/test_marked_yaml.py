"""YAML is read safely, bounded, and every value knows its line."""

import pytest

from nst_nd.errors import ConfigError
from nst_nd.marked_yaml import MAX_BYTES, parse

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def read(text):
    return parse(text, lambda line: f"f.yaml:{line}")


def test_values_and_lines():
    marked = read("a: 1\nb: [x, 2.5]\nc:\n  d: yes\ne: 2024-05-01\nf:\n")
    assert marked.value == {"a": 1, "b": ["x", 2.5], "c": {"d": True}, "e": "2024-05-01", "f": None}
    assert marked.where["b", 1] == "f.yaml:2"
    assert marked.where["c", "d"] == "f.yaml:4"


def test_aliases_work():
    assert read("a: &a [1, 2]\nb: *a").value["b"] == [1, 2]


def test_nothing_is_none():
    assert read("# only a comment\n").value is None


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: 1\nb: 2\na: 3", 3, "given twice, first at f.yaml:1"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]", 2, "!!python/object/apply:os.system"),
        ("a: !mine 3", 1, "!mine"),
        ("a: !!binary aGk=", 1, "!!binary"),
        (BOMB, 1, "too many values"),
        ("a: &a [*a]", 1, "too many values"),
        ("[" * 50_000, 1, "nested"),
        ("a: 1\nb: [", 2, "not valid YAML"),
        ("a: *nowhere", 1, "undefined alias"),
        ("1: x", 1, "a key must be a word"),
        ("[a]: x", 1, "a key must be a word"),
        ("a: 1\nb: !!int many", 2, "cannot be read as int"),
        ("a: 1\n---\nb: 2", 2, "another document"),
        ("a: \0", 1, "not valid YAML"),
        ("#" * (MAX_BYTES + 1), 1, "larger than"),
    ],
)
def test_refused_with_its_line(text, line, word):
    with pytest.raises(ConfigError, match=f"^f.yaml:{line}: ") as error:
        read(text)
    assert word in str(error.value)
    assert len(str(error.value).splitlines()) == 1
