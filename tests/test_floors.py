"""The architecture, held against the imports that the sources really have."""

import ast
from pathlib import Path

import pytest

import fxsim

PACKAGE = Path(fxsim.__file__).parent
NEVER = {
    "arith": [
        "kernels",
        "model",
        "sim",
        "cost",
        "numerics",
        "importers",
        "diagnose",
        "report",
        "targets",
        "cli",
        "errors",
    ],
    "kernels": ["model", "sim", "cost", "numerics", "importers", "diagnose", "report", "targets", "cli"],
    "model": ["arith", "kernels", "sim", "cost", "numerics", "importers", "diagnose", "report", "targets", "cli"],
    "numerics": ["cost", "sim", "kernels", "importers", "diagnose", "report", "targets", "cli"],
    "sim": ["cost", "importers", "diagnose", "targets", "cli"],
    "cost": ["kernels", "arith", "numerics", "sim", "importers", "diagnose", "report", "targets", "cli"],
    "importers": ["sim", "kernels", "numerics", "arith", "cost", "diagnose", "report", "targets", "cli"],
    "fixed": ["model", "sim", "cost", "importers", "diagnose", "report", "targets", "prove", "cli"],
    "prove": ["model", "sim", "cost", "importers", "diagnose", "report", "targets", "fixed", "cli"],
    "testing": ["sim", "cost", "importers", "diagnose", "report", "targets", "cli"],
    "targets": ["sim", "kernels", "arith", "diagnose", "report", "cli"],
    "diagnose": ["cost", "targets", "cli"],
    "prune": ["arith", "kernels", "sim", "cost", "numerics", "importers", "diagnose", "report", "targets", "cli"],
    "evaluation": ["arith", "kernels", "cost", "importers", "diagnose", "targets", "cli"],
    "convert": [
        *(
            "arith",
            "kernels",
            "sim",
            "cost",
            "numerics",
            "importers",
            "exporters",
            "diagnose",
            "report",
            "targets",
            "cli",
        ),
    ],
    "exporters": ["cost", "diagnose", "report", "targets", "quant", "cli"],
    "quant": ["cost", "importers", "diagnose", "report", "targets", "cli"],
    "train": ["cost", "importers", "diagnose", "report", "targets", "cli"],
    "report": ["cli", "kernels"],
    "errors": ["model", "sim", "cost", "numerics", "kernels", "arith"],
    "files": ["model", "sim", "cost", "numerics", "kernels", "arith", "report"],
}
"""floor -> the floors that it must not import at its top level or below"""
ONLY_IN = {
    "numba": ("kernels/_jit.py",),
    "llvmlite": ("kernels/_jit.py",),
    "pandas": ("report/",),
    "matplotlib": ("report/",),
    "onnx": ("importers/", "exporters/"),
    "bitwuzla": ("prove/solver.py",),
    "torch": ("train/",),
    "sklearn": ("evaluation/metrics.py",),
}
LAZY = {("sim", "report")}
"""the one upward step that is taken inside a function: a trace shows its layers as a table"""


def imports(path: Path, *, top_only: bool) -> set[str]:
    """Dotted names that a source imports, outside of TYPE_CHECKING."""
    found = set()

    def visit(nodes):
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(a.name for a in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                found.update(f"{node.module}.{a.name}" for a in node.names)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                visit(node.orelse)
            elif not top_only or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                visit(ast.iter_child_nodes(node))

    visit(ast.parse(path.read_text("utf-8")).body)
    return found


SOURCES = sorted(PACKAGE.rglob("*.py"))


def floor_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_source_is_seen():
    assert len(SOURCES) > 40


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_floor_imports_what_it_must_not(path):
    floor = floor_of(path)
    for name in imports(path, top_only=False):
        parts = name.split(".")
        if parts[0] == "fxsim" and len(parts) > 1 and (floor, parts[1]) not in LAZY:
            assert parts[1] not in NEVER.get(floor, ()), f"{path} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_libraries_live_in_one_room(path):
    inside = path.relative_to(PACKAGE).as_posix()
    for name in imports(path, top_only=False):
        rooms = ONLY_IN.get(name.split(".")[0])
        assert rooms is None or inside.startswith(rooms), f"{inside} imports {name}"


def test_no_circles():
    modules = {
        ".".join(("fxsim", *p.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): p for p in SOURCES
    }

    def home(name):
        """The module that a dotted name lies in."""
        while name and name not in modules:
            name = name.rpartition(".")[0]
        return name

    graph = {m: {home(n) for n in imports(p, top_only=True)} - {"", m} for m, p in modules.items()}
    done: set[str] = set()

    def walk(module, trail):
        assert module not in trail, f"circle: {' -> '.join([*trail, module])}"
        if module not in done:
            for target in sorted(graph[module]):
                walk(target, [*trail, module])
            done.add(module)

    for module in sorted(graph):
        walk(module, [])


def test_files_are_rooms_not_halls():
    long = {str(p.relative_to(PACKAGE)): n for p in SOURCES if (n := len(p.read_text("utf-8").splitlines())) > 400}
    assert not long
