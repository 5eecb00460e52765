"""The rules of the house, checked on the source: what imports what, what a module offers, and in which words."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests import retired_words

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "taintwatch_models": ROOT / "models" / "taintwatch_models",
    "taintwatch": ROOT / "daemon" / "taintwatch",
    "taintwatch_calibration": ROOT / "calibration" / "taintwatch_calibration",
}
MAY_IMPORT = {
    "taintwatch_models": {"taintwatch_models"},
    "taintwatch": {"taintwatch_models", "taintwatch"},
    "taintwatch_calibration": set(PACKAGES),
}
TREES = {path: ast.parse(path.read_text()) for folder in PACKAGES.values() for path in sorted(folder.rglob("*.py"))}
SWALLOWS = {
    "daemon/taintwatch/alerts/publisher.py",  # hands whatever happened while binding over to its maker
    "daemon/taintwatch/cameras/camera.py",  # the last resort of a camera's thread: one must not stop another
    "daemon/taintwatch/alerts/replay_server.py",  # hands whatever happened over to the thread that made it
    "daemon/taintwatch/sources/webcam.py",  # hands whatever happened over to the thread that asked
    "daemon/taintwatch/cli/main.py",  # the program's last resort
    "daemon/taintwatch/doctor.py",  # a provider fails in its own ways, and that is what is looked for
}
EDITS_THE_IMPORT_PATH = {
    "tests/system/systemd_container.py",  # a second Python, inside the container, finds the checkout so
    "tests/test_house.py",
}
SHARED_NAMES = {  # the same thing for two parents
    "__init__.py",
    "anomaly.py",
    "camera.py",
    "cli.py",
    "detector.py",
    "finder.py",
    "loading.py",
    "thresholds.py",
}
WORDED = {".py", ".md", ".toml", ".html", ".js", ".css", ".json", ".service", ".conf"}
SAYS_RETIRED_WORDS = {
    "docs/glossary.md",
    "tests/retired_words.py",
}
DECODES_IMAGES = {
    "daemon/taintwatch/evidence/media.py",  # what it has encoded itself, and so the others but the last
    "daemon/taintwatch/sources/camera_model.py",
    "models/taintwatch_models/detection/general.py",
    "models/taintwatch_models/detection/novelty.py",
    "models/taintwatch_models/image_file.py",  # the one reader of what comes from outside
}
LONGEST_FILE = 300  # lines; beyond that a file is two


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield every module that is imported anywhere in `tree`; a relative import as `.`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." if node.level else str(node.module)


def declared(tree: ast.Module) -> list[str] | None:
    """Return the module's `__all__`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            names: list[str] = ast.literal_eval(node.value)
            return names
    return None


def top_level(tree: ast.Module) -> set[str]:
    """Return every name that the module defines or imports at its top level."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
    return names


def test_imports_are_absolute_and_run_one_way() -> None:
    wrong = []
    for path, tree in TREES.items():
        package = next(name for name, folder in PACKAGES.items() if path.is_relative_to(folder))
        tops = {module.split(".")[0] for module in imports(tree)}
        if "" in tops or not tops & set(PACKAGES) <= MAY_IMPORT[package]:
            wrong.append(named(path))
    assert wrong == []


def test_what_a_module_offers_is_declared_sorted_and_there() -> None:
    wrong = []
    for path, tree in TREES.items():
        names = declared(tree)
        public = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        if names is None:
            if any(not name.startswith("_") for name in public):
                wrong.append(f"{named(path)}: public names but no __all__")
        # As ruff's RUF022 sorts: CONSTANTS, then Classes, then functions, each by name.
        elif names != sorted(set(names), key=lambda name: (not name.isupper(), not name[0].isupper(), name)):
            wrong.append(f"{named(path)}: __all__ is not sorted")
        elif not set(names) <= top_level(tree):
            wrong.append(f"{named(path)}: not there: {set(names) - top_level(tree)}")
    assert wrong == []


def test_modules_and_what_they_offer_say_what_they_are() -> None:
    missing = [named(path) for path, tree in TREES.items() if not ast.get_docstring(tree)]
    missing += [
        f"{named(path)}: {node.name}"
        for path, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and node.name in (declared(tree) or [])
        and not ast.get_docstring(node)
    ]
    assert missing == []


def test_files_stay_short() -> None:
    lengths = {named(path): len(path.read_text().splitlines()) for path in TREES}
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed_and_hold_no_loose_modules_beside_them(package: str) -> None:
    folder = PACKAGES[package]
    assert (folder / "py.typed").is_file()
    assert [path.name for path in folder.parent.glob("*.py")] == []


def test_whatever_is_caught_broadly_is_raised_again_but_in_few_named_places() -> None:
    # A library that raises of all kinds may be caught at its edge, to be told as one of our errors.
    broad = {
        named(path)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")))
        and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
    }
    assert broad <= SWALLOWS


def test_the_program_starts_without_the_heavy_packages() -> None:
    heavy = ("torch", "cv2", "onnxruntime", "onnx", "numpy", "pydantic", "av", "zmq")
    code = (
        "import sys; from taintwatch.cli.main import main\n"
        "assert main(['--help']) == 0\n"
        f"sys.exit(','.join(sorted(set(sys.modules) & set({heavy!r}))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout


def test_images_from_outside_are_decoded_in_one_place_which_looks_at_their_size_first() -> None:
    decoding = {"imread", "imdecode", "imreadmulti", "imdecodemulti"}
    found = {
        str(path.relative_to(ROOT))
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in decoding
    }
    assert found == DECODES_IMAGES


def test_nothing_edits_the_import_path() -> None:
    folders = (ROOT / "benchmarks", ROOT / "tests", *PACKAGES.values())
    sources = {named(path): path.read_text() for folder in folders for path in folder.rglob("*.py")}
    assert {path for path, text in sources.items() if re.search(r"sys\.path\b", text)} <= EDITS_THE_IMPORT_PATH


def module_of(path: Path) -> str:
    folder = next(folder for folder in PACKAGES.values() if path.is_relative_to(folder)).parent
    return ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(tree: ast.AST, modules: set[str]) -> set[str]:
    """Return which of `modules` a module imports anywhere, in functions too, but for type checkers alone."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & modules
            found.update(inner or {str(node.module)})
        found |= imported_modules(node, modules)
    return found & modules


@cache
def import_graph() -> dict[str, set[str]]:
    """Return which modules each module of the packages imports."""
    modules = {module_of(path): tree for path, tree in TREES.items()}
    return {name: imported_modules(tree, set(modules)) - {name} for name, tree in modules.items()}


def test_imports_run_in_no_circle() -> None:
    try:
        TopologicalSorter(import_graph()).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_nothing_is_installed_that_no_command_and_no_page_leads_to() -> None:
    modules = {module_of(path): path.read_text() for path in TREES}
    pages = "".join(path.read_text() for path in (ROOT / "docs").rglob("*") if path.suffix in {".md", ".ipynb"})
    dotted = [name.split(".") for name in re.findall(r"\btaintwatch\w*(?:\.\w+)+", pages)]
    told = {".".join(parts[:length]) for parts in dotted for length in range(1, len(parts) + 1)}
    started = re.compile(r"(^|\.)(cli|cli_\w+|__main__|migrations)(\.|$)")
    waiting = [name for name in modules if started.search(name) or name in told]
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            loaded = set(re.findall(r'"(taintwatch[\w.]+)[":]', modules[name]))  # by its name, when it is wanted
            waiting += import_graph()[name] | (loaded & set(modules))
    packages = {module_of(path) for path in TREES if path.name == "__init__.py"}
    assert set(modules) - packages - reached == set()


def test_no_two_modules_of_a_package_share_a_name_but_those_of_two_parents_that_are_the_same_thing() -> None:
    shared: set[str] = set()
    for folder in PACKAGES.values():
        # A command's module is named for its command: `cli/keys.py` and `alerts/keys.py` are keys, both.
        inside = [path for path in TREES if path.is_relative_to(folder) and path.parent.name != "cli"]
        names = Counter(path.name for path in inside)
        shared |= {name for name, count in names.items() if count > 1}
    assert shared <= SHARED_NAMES


@cache
def texts() -> dict[str, str]:
    """Return every text of the project by its path, in lower case."""
    folders = ("daemon", "models", "calibration", "benchmarks", "tests", "docs", "systemd")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in WORDED]
    paths += [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "pyproject.toml", ROOT / "Makefile"]
    return {named(path): words_of(path) for path in paths if named(path) not in SAYS_RETIRED_WORDS}


def words_of(path: Path) -> str:
    """Return a file's text in lower case; of a result file each key and string once, since it may be long."""
    text = path.read_text().lower()
    return "\n".join(sorted(set(re.findall(r'"([^"]*)"', text)))) if path.suffix == ".json" else text


@pytest.mark.parametrize("word", retired_words.EVERYWHERE)
def test_a_retired_word_is_nowhere(word: str) -> None:
    found = {path: len(re.findall(word, text)) for path, text in texts().items() if re.search(word, text)}
    assert found == {}, f"say {retired_words.EVERYWHERE[word]}"


def test_no_class_or_module_has_a_retired_name() -> None:
    paths = [*TREES, *(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    wrong = [named(path) for path in paths if path.stem in retired_words.MODULES]
    wrong += [
        f"{named(path)}: {node.name} (say {retired_words.CLASSES[node.name]})"
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and node.name in retired_words.CLASSES
    ]
    assert wrong == []


def test_no_participle_stands_for_a_noun() -> None:
    wrong = [
        f"{named(path)}: {node.name}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and retired_words.NAMES & set(re.sub("(?<=[a-z])(?=[A-Z])", "_", node.name).lower().split("_"))
    ]
    assert wrong == []
