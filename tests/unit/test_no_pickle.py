"""Nothing of ours writes or reads pickles: whoever could change such a file could run code in what reads it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEMBERS = ("schemas", "operator", "ray_apps", "dev")
MODULES = frozenset({"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle", "pandas"})
"""Modules that pickle; pandas too, for its read_pickle."""
METHODS = frozenset({"read_pickle", "to_pickle", "cloudpickle"})
ASKED_NOT_TO = frozenset({"save", "savez", "savez_compressed", "write_array", "read_array"})
"""Functions of numpy that pickle unless they are asked not to."""


def pickling(source: str) -> Iterator[str]:
    """What in a source writes or reads pickles, in words."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (f"import {alias.name}" for alias in names if alias.name.split(".")[0] in MODULES)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in MODULES or module.endswith("cloudpickle"):
                yield f"from {module} import"
            case ast.Attribute(attr=name) if name in METHODS:
                yield name
            case ast.Call(func=ast.Attribute(attr=name, value=value), keywords=keywords):
                allowed = [keyword.value for keyword in keywords if keyword.arg == "allow_pickle"]
                if any(not (isinstance(each, ast.Constant) and each.value is False) for each in allowed):
                    yield f"{name}(allow_pickle=...)"
                if not allowed and name in ASKED_NOT_TO and ast.unparse(value).startswith(("np", "numpy")):
                    yield f"{name} without allow_pickle=False"
            case _:
                continue


def test_no_source_pickles():
    sources = [path for member in MEMBERS for path in (ROOT / member / "src").rglob("*.py")]
    assert len(sources) > 100
    found = {str(path.relative_to(ROOT)): list(pickling(path.read_text())) for path in sources}
    assert {name: words for name, words in found.items() if words} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from ray import cloudpickle\nray.cloudpickle.dumps(1)",
        "import joblib as j",
        "from pickle import loads",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import numpy as np\nnp.load('x', allow_pickle=trusted)",
        "import numpy as np\nnp.save('x', y)",
        "frame.to_pickle('x')",
        "def late():\n    import dill",
    ],
)
def test_a_source_that_does_is_found(source: str):
    assert list(pickling(source))


def test_plain_arrays_are_not_taken_for_pickles():
    assert list(pickling("import numpy as np\nnp.load('x')\nnp.lib.format.write_array(f, a, allow_pickle=False)")) == []
