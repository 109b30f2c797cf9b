"""The rules of the house, read off the syntax trees."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import nst_nd

ROOT = Path(nst_nd.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# what a module may import lies on an earlier line, or in the same package
LAYERS = (
    {"errors"},
    {"scratch", "boxes"},
    {"drawing"},
    {"sample", "nd", "marked_yaml"},
    {"borders"},
    {"kernels"},
    {"features"},
    {"engine"},
    {"domains"},
    {"config", "sidecar", "figures"},
    {"checkpoint"},
    {"draft"},
    {"job", "verify"},
    {"patches"},
    {"batch"},
    {"app"},
    {"report"},
    {"cli"},
    {"__main__"},
)
# seen from anywhere above the domains; sees these only
IO_SEES = {"errors", "scratch", "sample"}
LONGEST_FILE = 400
# names that exist once per number of dimensions
PER_DIMENSION = ("conv1d", "conv2d", "conv3d", "pool1d", "pool2d", "pool3d", "linear1d", "bilinear", "trilinear")

every_file = pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
# codecs and Sample say what the array of a file looks like; what a signal's axes mean to a computation is nd's
COMPUTING = [f for f in FILES if f.relative_to(ROOT).parts[0] not in {"nd.py", "sample.py", "io"}]


@cache
def tree(file):
    return ast.parse(file.read_text(encoding="utf-8"))


def part_of(file):
    """The part of the layout that a file belongs to: a module at the top, or a folder."""
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(file):
    """(part, line) of everything of the package that a file imports, wherever in the file the import stands."""
    package = ["nst_nd", *file.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(tree(file)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, node.module or ""])
            # `from nst_nd import nd` imports a part, `from nst_nd.nd import pool` a name of one
            names = [f"{base.rstrip('.')}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            names = [node.args[0].value] if isinstance(node.args[0], ast.Constant) else []
        for name in names:
            parts = name.split(".")
            if parts[0] == "nst_nd" and len(parts) > 1 and parts[1] != "__version__":
                yield parts[1], node.lineno


def level(part):
    return next(i for i, layer in enumerate(LAYERS) if part in layer)


@pytest.mark.parametrize("file", [f for f in FILES if f.parent != ROOT or f.name != "__init__.py"], ids=str)
def test_imports_point_downward(file):
    part = part_of(file)
    for seen, line in imports(file):
        where = f"{file.relative_to(ROOT)}:{line} imports {seen}"
        if part == "io":
            assert seen in IO_SEES | {"io"}, where
        elif seen == "io":
            assert level(part) > level("domains"), where
        elif part != seen:
            assert level(seen) < level(part), where


def test_every_file_has_a_place():
    known = set().union(*LAYERS) | {"io", "__init__"}
    assert {part_of(file) for file in FILES} <= known


def test_domains_do_not_know_each_other_through_the_engine():
    kinds = {"image", "audio", "ecg", "volume", "ct"}
    for file in FILES:
        if part_of(file) in {"kernels", "features", "engine", "nd"}:
            said = {n.value for n in ast.walk(tree(file)) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
            assert not said & kinds, file


@pytest.mark.parametrize("file", COMPUTING, ids=lambda f: str(f.relative_to(ROOT)))
def test_only_the_table_knows_the_dimensions(file):
    for node in ast.walk(tree(file)):
        where = f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        assert not any(name.lower().endswith(word) for word in PER_DIMENSION), f"{where}: {name}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert node.value.lower() not in PER_DIMENSION, f"{where}: {node.value}"
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(is_number_of_axes(side) for side in sides):
                assert not any(is_one_two_three(side) for side in sides), f"{where}: {ast.unparse(node)}"
        if isinstance(node, ast.Dict) and node.keys:
            keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
            assert keys != {1, 2, 3}, f"{where}: a table by number of dimensions"


def is_number_of_axes(node):
    """ndim, x.ndim, nd.spatial_axes(x): a number of spatial axes by name."""
    if isinstance(node, ast.Call):
        return ast.unparse(node.func).rpartition(".")[2] == "spatial_axes"
    return (node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")) in {"ndim", "axes"}


def is_one_two_three(node):
    """1, 2, 3, a collection of them, or something worked out of constants alone, such as len(("time",))."""
    try:
        value = eval(compile(ast.Expression(node), "", "eval"), {"__builtins__": {"len": len}})
    except (NameError, AttributeError, TypeError):
        return False
    return value in (1, 2, 3) or (isinstance(value, tuple | list | set) and set(value) <= {1, 2, 3})


@every_file
def test_files_are_short(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


@every_file
def test_what_is_public_says_what_it_does(file):
    assert ast.get_docstring(tree(file)), "the module"
    for owner, node in definitions(tree(file)):
        assert ast.get_docstring(node), f"{file.relative_to(ROOT)}:{node.lineno} {owner}{node.name}"


def definitions(node, owner=""):
    """Public classes, functions and methods; what is inside a function is its own business."""
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            yield owner, child
            if isinstance(child, ast.ClassDef):
                yield from definitions(child, f"{owner}{child.name}.")


def test_public_names_exist():
    assert len(set(nst_nd.__all__)) == len(nst_nd.__all__)
    for name in nst_nd.__all__:
        assert getattr(nst_nd, name) is not None
    typed = next(n for n in tree(ROOT / "__init__.py").body if isinstance(n, ast.If))
    told = {alias.asname or alias.name for node in typed.body for alias in node.names}
    assert told == set(nst_nd.__all__) - {"__version__"}
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        nst_nd.nonsense  # noqa: B018


HEAVY = {"torch", "scipy", "nibabel", "matplotlib", "wfdb", "pandas", "pydicom"}


@pytest.mark.parametrize("code", ["import nst_nd", "import nst_nd.cli.main"])
def test_a_bare_import_is_light(code):
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import sys; {code}; print(*sorted(m for m in sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not HEAVY & set(told)
