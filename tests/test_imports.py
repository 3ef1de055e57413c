"""The package's imports go one way, and its main flow can be read in one sitting."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "promptlab"
PARTS = ("templates", "verbalizers", "backbones", "tuning", "data")
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py"
}
LAYERS = (  # each imports what stands before it, never what stands after it
    ("errors", "places", "types", "fields", "tunable", "checks", "training_settings", "seeding", "part", "means"),
    ("files", "registry", "interfaces", "generative"),
    ("library", "identity", "soft_tokens", "pvp", "thresholds", "tag_schemes"),
    PARTS,
    ("devices", "parts", "trainable", "model", "noticing"),
    (
        "checkpoint",
        "batching",
        "optimizers",
        "updates",
        "training",
        "inference",
        "labelled",
        "known_classes",
        "fitting",
        "objectives",
        "saving",
    ),
    (
        "estimator",
        "class_scorer",
        "saved_estimator",
        "text_estimator",
        "text_classifier",
        "joint_model",
        "generation_options",
        "generator_model",
        "tagger_model",
        "multilabel_model",
    ),
    ("classifier", "head_classifier", "generator", "joint", "tagger", "multilabel"),
    (
        "pretraining",
        "inspection",
        "evaluation",
        "demo",
        "search",
        "workspace",
        "jobs",
        "merging",
        "generations",
        "reading",
    ),
    (
        "member_jobs",
        "members",
        "member_scores",
        "annotation",
        "saved_ensemble",
        "ensemble",
        "distillation",
        "ipet",
    ),
    ("cli",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MAIN_FLOW = (
    "types",
    "interfaces",
    "templates.manual",
    "verbalizers.manual",
    "model",
    "training",
    "class_scorer",
    "text_estimator",
    "text_classifier",
    "classifier",
)


def imported(path):
    """Names of promptlab's modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "promptlab":
            inside = (node.module or "").removeprefix("promptlab").lstrip(".")
            for alias in node.names:
                below = f"{inside}.{alias.name}".lstrip(".")
                yield below if below in MODULES else inside
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix("promptlab.") for a in node.names if a.name.startswith("promptlab."))


def part_of(module):
    return module.split(".")[0]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_its_own_layer_and_those_below(module):
    names = [name for name in imported(MODULES[module]) if name]

    assert [name for name in names if LEVEL[part_of(name)] > LEVEL[part_of(module)]] == []


@pytest.mark.parametrize("part", PARTS)
def test_a_part_imports_no_other_part(part):
    names = [(module, name) for module in MODULES if part_of(module) == part for name in imported(MODULES[module])]

    assert [(module, name) for module, name in names if part_of(name) in set(PARTS) - {part}] == []


def test_no_import_comes_back_to_where_it_began():
    graph = {module: set(imported(path)) & set(MODULES) for module, path in MODULES.items()}

    TopologicalSorter(graph).prepare()  # raises CycleError


def test_the_main_flow_is_under_600_lines_of_code():
    assert sum(lines_of_code(MODULES[module].read_text(encoding="utf-8")) for module in MAIN_FLOW) < 600


def lines_of_code(source):
    """Lines without those that are blank, a comment or part of a docstring."""
    docstrings = [
        node.body[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, clean=False)
    ]
    said = {line for text in docstrings for line in range(text.lineno, text.end_lineno + 1)}
    lines = enumerate(source.splitlines(), start=1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and n not in said for n, line in lines)
