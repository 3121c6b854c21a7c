"""The layers of oddwatch: who may import whom. The table is that of `docs/architecture.md`; change both together.

The imports are read with `ast`, also those inside functions and under TYPE_CHECKING: a dependency is a dependency.
"""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src"
PACKAGE = "oddwatch"
FACADE = {PACKAGE, f"{PACKAGE}.__main__"}
"""They offer what is below, lazily, and hold nothing but the version."""

MODULES = {
    0: ["addresses", "errors", "files", "processes", "registry", "torch_compat", "types", "windows"],
    1: [
        "augment",
        "backbones",
        "calibration",
        "embedding_file",
        "grouping",
        "health",
        "metrics",
        "notify",
        "runs",
        "scale",
        "scenes",
        "scorers",
        "service",
        "store",
        "truth",
        "video",
    ],
    2: ["datasets", "embed", "outbox", "web"],
    3: ["detector", "finetune"],
    4: ["evaluate", "export", "monitor", "report"],
    5: ["config"],
    6: ["cli", "demo"],
}
MAY_IMPORT = {0: [], 1: [0], 2: [0, 1], 3: [0, 1, 2], 4: [0, 1, 2, 3], 5: [0], 6: [0, 1, 2, 3, 4, 5, 6]}
EVERYONE_MAY_IMPORT = {"errors"}
"""The one exception to the table: the tree of errors, inside layer 0 too."""
LAYER = {module: layer for layer, modules in MODULES.items() for module in modules}

ON_DEMAND = {
    "apprise",
    "fsspec",
    "huggingface_hub",
    "jinja2",
    "lightning",
    "matplotlib",
    "mlflow",
    "nncf",
    "onnx",
    "onnxruntime",
    "openvino",
    "paho",
    "prometheus_client",
    "psycopg",
    "torch",
    "torchvision",
    "transformers",
    "upath",
    "wandb",
}
"""Libraries of the extras: imported inside functions, so that every module imports without them."""
NETWORKS = {
    "oddwatch.backbones.slowfast_network",
    "oddwatch.finetune.data",
    "oddwatch.finetune.loop",
    "oddwatch.finetune.module",
    "oddwatch.finetune.trackers",
    "oddwatch.scorers.convlstm_network",
    "oddwatch.scorers.variational",
}
"""Files whose classes are those of torch and Lightning: a base class has to be there when the file is read. They may
import both at the top, and are themselves imported inside functions only."""
SLOW_TO_IMPORT = ON_DEMAND | {"av", "cv2", "scipy", "sklearn"}
MAX_LINES = 500


@dataclass(frozen=True)
class Import:
    """`importer` (a dotted file name) imports `target`. at_top: when the file itself is imported."""

    importer: str
    target: str
    line: int
    at_top: bool


def dotted(path: Path) -> str:
    """oddwatch/scorers/__init__.py -> oddwatch.scorers.__init__, whose last part says that it is a folder."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


def read_sources() -> dict[str, str]:
    return {dotted(path): path.read_text(encoding="utf-8") for path in sorted(SOURCE.rglob("*.py"))}


def imports(sources: Mapping[str, str]) -> Iterator[Import]:
    """Every import of every source, relative ones resolved; `from package import module` names the module."""
    known = {name.removesuffix(".__init__") for name in sources}
    for name, source in sources.items():
        importer = name.removesuffix(".__init__")
        package = importer if name.endswith(".__init__") else importer.rpartition(".")[0]
        tree = ast.parse(source, filename=name)
        delayed = set(_delayed(tree))
        for node in ast.walk(tree):
            for target in _targets(node, package, known):
                yield Import(importer, target, node.lineno, node not in delayed)  # type: ignore[attr-defined]


def _targets(node: ast.AST, package: str, known: set[str]) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            parts = package.split(".")[: len(package.split(".")) - level + 1] if level else []
            base = ".".join([*parts, *([module] if module else [])])
            for alias in names:
                whole = f"{base}.{alias.name}"
                yield whole if whole in known or base == PACKAGE else base
        case ast.Call(
            func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
            args=[ast.Constant(value=str(target)), *_],
        ):
            yield target


def _delayed(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes that do not run when the module is imported: bodies of functions, TYPE_CHECKING blocks."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from ast.walk(node)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from (inner for statement in node.body for inner in ast.walk(statement))


def module_of(name: str) -> str:
    """The module of the table that a dotted name belongs to: oddwatch.scorers.knn -> scorers."""
    return name.split(".")[1]


def layer_violations(sources: Mapping[str, str]) -> list[str]:
    found = []
    for name in sources:
        name = name.removesuffix(".__init__")
        if name not in FACADE and module_of(name) not in LAYER:
            found.append(f"{name}: not in the table; add `{module_of(name)}` to its layer in {Path(__file__).name}")
    for one in imports(sources):
        if one.importer in FACADE or one.target.split(".")[0] != PACKAGE or one.target == f"{PACKAGE}.__version__":
            continue
        importer = module_of(one.importer)
        target = module_of(one.target) if one.target != PACKAGE else PACKAGE
        if importer == target or target in EVERYONE_MAY_IMPORT or importer not in LAYER:
            continue
        where = f"{one.importer}, line {one.line}"
        if target not in LAYER:
            found.append(f"{where}: imports {one.target}, no module of the table; import from where it is made")
        elif LAYER[target] not in MAY_IMPORT[LAYER[importer]]:
            allowed = ", ".join(map(str, MAY_IMPORT[LAYER[importer]])) or "none"
            found.append(
                f"{where}: {importer} (layer {LAYER[importer]}) imports {target} (layer {LAYER[target]}); "
                f"allowed layers: {allowed}"
            )
    return list(dict.fromkeys(found))


def cycle(sources: Mapping[str, str]) -> list[str]:
    """The files of one import cycle, or an empty list."""
    graph: dict[str, set[str]] = {name.removesuffix(".__init__"): set() for name in sources}
    for one in imports(sources):
        if one.importer not in FACADE and one.target in graph and one.target not in FACADE:
            graph[one.importer].add(one.target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def eager_imports(sources: Mapping[str, str]) -> list[str]:
    return [
        f"{one.importer}, line {one.line}: imports {one.target} at the top; import optional libraries inside functions"
        for one in imports(sources)
        if one.at_top and (one.target.split(".")[0] in ON_DEMAND or one.target in NETWORKS)
        if not (one.importer in NETWORKS and one.target.split(".")[0] in ("torch", "lightning"))
        if not {one.importer, one.target} <= NETWORKS
    ]


def assert_none(violations: list[str]) -> None:
    if violations:
        pytest.fail("\n".join(violations), pytrace=False)


def test_no_module_imports_above_its_layer() -> None:
    assert_none(layer_violations(read_sources()))


def test_no_import_cycle() -> None:
    assert cycle(read_sources()) == []


def test_optional_libraries_are_imported_on_demand() -> None:
    sources = read_sources()
    assert sources.keys() >= NETWORKS
    assert_none(eager_imports(sources))


def test_no_file_grows_past_the_limit() -> None:
    long = {name: n for name, text in read_sources().items() if (n := len(text.splitlines())) > MAX_LINES}
    assert long == {}, "make a folder of each, with the same import path"


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def test_importing_oddwatch_imports_nothing_slow() -> None:
    loaded = run_python("import sys, oddwatch; print(*{name.split('.')[0] for name in sys.modules})").split()
    assert PACKAGE in loaded
    assert SLOW_TO_IMPORT.isdisjoint(loaded)


def test_the_command_starts_without_what_only_some_of_its_work_needs() -> None:
    loaded = run_python("import sys, oddwatch.cli, oddwatch.monitor.worker; print(*sys.modules)").split()
    assert {"oddwatch.cli", "cv2"} <= set(loaded)
    assert (ON_DEMAND | {"sklearn", "pandas", "scipy.stats", "scipy.optimize", "scipy.spatial"}).isdisjoint(loaded)


def test_importing_oddwatch_takes_under_300_ms() -> None:
    timed = "import time; t = time.perf_counter(); import oddwatch; print(time.perf_counter() - t)"
    assert min(float(run_python(timed)) for _ in range(4)) < 0.3


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("metrics", "from oddwatch.grouping import group", "metrics (layer 1) imports grouping (layer 1)"),
        ("metrics", "from . import grouping", "metrics (layer 1) imports grouping (layer 1)"),
        ("metrics", "from .detector import Detector", "metrics (layer 1) imports detector (layer 3)"),
        ("metrics", "import oddwatch.grouping as g", "metrics (layer 1) imports grouping (layer 1)"),
        ("metrics", "def f():\n    import oddwatch.grouping", "metrics (layer 1) imports grouping (layer 1)"),
        ("metrics", "import importlib\nimportlib.import_module('oddwatch.cli')", "metrics (layer 1) imports cli"),
        ("scorers.knn", "from ..metrics import auc", "scorers (layer 1) imports metrics (layer 1)"),
        ("scorers.__init__", "from ..metrics import auc", "scorers (layer 1) imports metrics (layer 1)"),
        ("errors", "from oddwatch.types import Event", "allowed layers: none"),
        ("config", "from oddwatch.video import Video", "config (layer 5) imports video (layer 1); allowed layers: 0"),
        ("detector", "from oddwatch import Dataset", "no module of the table; import from where it is made"),
        ("detector", "import oddwatch", "no module of the table; import from where it is made"),
        ("helpers", "", "add `helpers` to its layer"),
    ],
)
def test_a_violation_is_found(name: str, text: str, expected: str) -> None:
    made_up = {"oddwatch.__init__": "", f"oddwatch.{name}": text, "oddwatch.grouping": ""}
    found = layer_violations(made_up)
    assert len(found) == 1
    assert expected in found[0]


def test_what_is_allowed_is_not_found() -> None:
    assert not layer_violations(
        {
            "oddwatch.__init__": "from oddwatch.detector import Detector",
            "oddwatch.__main__": "from oddwatch.cli import main",
            "oddwatch.types": "import numpy\nfrom oddwatch.errors import UsageError",
            "oddwatch.scorers.__init__": "from oddwatch.scorers.knn import Knn\nfrom oddwatch.types import Event",
            "oddwatch.scorers.knn": "from .base import Scorer\nfrom ..errors import UsageError",
            "oddwatch.scorers.base": "",
            "oddwatch.detector": "from . import scorers\nfrom oddwatch import __version__",
            "oddwatch.cli.app": "from oddwatch import demo, types",
        }
    )


def test_a_cycle_is_found() -> None:
    straight = {"oddwatch.web.a": "from .b import x", "oddwatch.web.b": "x = 1"}
    assert cycle(straight) == []
    assert set(cycle({**straight, "oddwatch.web.b": "def f():\n    from oddwatch.web import a"})) == {
        "oddwatch.web.a",
        "oddwatch.web.b",
    }


def test_an_eager_import_is_found() -> None:
    lazy = textwrap.dedent("""
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            import torch
        def f():
            import torch.nn
    """)
    assert eager_imports({"oddwatch.a": lazy}) == []
    network = min(NETWORKS)
    assert eager_imports({network: "from torch import nn", "oddwatch.a": f"def f():\n    import {network}"}) == []
    assert len(eager_imports({network: "import matplotlib", "oddwatch.a": f"import {network}"})) == 2
    assert len(eager_imports({"oddwatch.a": "try:\n    import torch.nn\nexcept ImportError:\n    pass"})) == 1
