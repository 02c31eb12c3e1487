"""The architecture, enforced: who may import whom, what a file may be called, what a file may not contain.

Reads source text only; nothing of the package is imported, so these tests also run where it is broken.
"""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "sgdsde"

# A room is a file or folder directly inside the package; it imports from rooms on lower floors and from itself.
FLOORS = {
    "arguments": 0,
    "pytrees": 0,
    "style": 0,
    "problem": 0,
    "tracing": 0,
    "casting": 0,
    "randomness": 0,
    "elementary": 0,
    "scalars": 1,
    "laws": 0,
    "problems": 1,
    "noise": 1,
    "predictions": 1,
    "measurements": 1,
    "dynamics": 2,
    "observables": 2,
    "ensemble": 3,
    "starting": 3,
    "standstill": 3,
    "admission": 3,
    "times": 3,
    "differentiation": 3,
    "checkpointing": 3,
    "interruption": 3,
    "progress": 3,
    "memory": 3,
    "kernel": 3,
    "stepping": 3,
    "recording": 3,
    "devices": 3,
    "simulation": 3,
    "comparison": 4,
    "experiment": 4,
    "sweeps": 5,
    "loading": 5,
    "searches": 6,
    "commands": 7,
    "cli": 7,
    "__main__": 7,
}
# Single files that make up one room together.
SHARED_ROOMS = {
    "arguments": "ground",
    "pytrees": "ground",
    "problem": "ground",
    "tracing": "ground",
    "casting": "ground",
    "randomness": "ground",
    "elementary": "ground",
    "laws": "ground",
    "checkpointing": "loop",
    "interruption": "loop",
    "progress": "loop",
    "memory": "loop",
    "ensemble": "loop",
    "starting": "loop",
    "standstill": "loop",
    "admission": "loop",
    "times": "loop",
    "differentiation": "loop",
    "kernel": "loop",
    "stepping": "loop",
    "recording": "loop",
    "devices": "loop",
    "simulation": "loop",
    "sweeps": "sweeps",
    "loading": "sweeps",
    "commands": "command",
    "cli": "command",
    "__main__": "command",
}

SAYS_NOTHING = {"utils", "util", "core", "base", "helpers", "helper", "types", "common", "misc", "registry"}
# Each means two things in this field, or nothing in particular.
AMBIGUOUS = {"alpha", "beta", "epsilon", "eta", "sigma", "T", "noise_scale", "lr"} | {
    "data",
    "info",
    "ctx",
    "cfg",
    "manager",
    "handler",
    "process",
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in SOURCES.items()}


def imported_modules(name: str) -> set[str]:
    """Modules of the package that the module `name` imports, anywhere in its text (inside functions too).

    `from sgdsde.room import thing` is an import of the module `sgdsde.room.thing` where that is one, else of the room.
    """
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: line {node.lineno} imports relatively; write the whole name"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            targets = [target if target in SOURCES else str(node.module) for target in inner]
        else:
            continue
        found |= {target for target in targets if target.split(".")[0] == "sgdsde"}
    return found


def room_of(name: str) -> str:
    return name.split(".")[1] if "." in name else "the face"


def public_functions(name: str) -> list[ast.FunctionDef]:
    return [node for node in TREES[name].body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


def test_every_file_has_a_floor():
    unplaced = {room_of(name) for name in SOURCES} - FLOORS.keys() - {"the face"}
    assert not unplaced, f"say in tests/test_layers.py on which floor these belong: {sorted(unplaced)}"


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "sgdsde"])
def test_imports_go_down(name):
    room = room_of(name)
    for target in imported_modules(name):
        other = room_of(target)
        assert other != "the face", f"{name} imports the lazy face {target}; import the module that defines the name"
        same_room = SHARED_ROOMS.get(room, room) == SHARED_ROOMS.get(other, other)
        lower = FLOORS[other] < FLOORS[room]
        assert same_room or lower, f"{name} (floor {FLOORS[room]}) may not import {target} (floor {FLOORS[other]})"


@pytest.mark.parametrize("name", [name for name in SOURCES if room_of(name) == "predictions"])
def test_predictions_stand_alone(name):
    """But for the gate, which says what a number is and computes nothing, and which one file alone hands on."""
    outside = {target for target in imported_modules(name) if room_of(target) != "predictions"}
    outside -= {"sgdsde.arguments"} if name == "sgdsde.predictions.requirements" else set()
    assert not outside, f"{name} imports {sorted(outside)}: a wrong factor shared with a simulation would cancel"


def test_no_circles():
    remaining = {name: imported_modules(name) & SOURCES.keys() for name in SOURCES if name != "sgdsde"}
    while remaining:
        leaves = {name for name, targets in remaining.items() if not (targets & remaining.keys())}
        assert leaves, f"these import each other in a circle, or hang on one: {sorted(remaining)}"
        remaining = {name: targets for name, targets in remaining.items() if name not in leaves}


def test_modules_are_called_by_their_subject():
    nameless = {name for name in SOURCES if SAYS_NOTHING & set(name.split("."))}
    assert not nameless, f"name these after what they are about: {sorted(nameless)}"


@pytest.mark.parametrize("package", [name for name, path in SOURCES.items() if path.name == "__init__.py"])
def test_no_submodule_shares_the_name_of_a_public_function(package):
    """A package's names are looked up lazily; importing the submodule first would hand out the module instead."""
    submodules = {name.split(".")[-1] for name in SOURCES if name.rpartition(".")[0] == package}
    functions = {node.name for name in SOURCES if name.startswith(package) for node in public_functions(name)}
    both = submodules & functions
    assert not both, f"names of a module and of a public function in {package}: {sorted(both)}"


@pytest.mark.parametrize("name", SOURCES)
def test_public_names_are_unambiguous(name):
    for function in public_functions(name):
        arguments = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
        names = {function.name} | {argument.arg for argument in arguments}
        assert not names & AMBIGUOUS, f"{name}.{function.name}: {sorted(names & AMBIGUOUS)}"


def test_the_library_knows_nothing_of_experiments_and_tests():
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                first = str(getattr(node, "module", None) or node.names[0].name).split(".")[0]
                assert first not in {"experiments", "tests", "scripts"}, f"{name}: line {node.lineno}"


def project_files() -> list[Path]:
    """What a commit would hold; all files where this is no git checkout."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        answer = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        ours = [ROOT / top for top in ("sgdsde", "experiments", "tests", "scripts", "results", "docs", ".ci")]
        paths = [path for top in ours for path in top.rglob("*")] + list(ROOT.glob("*.*"))
        return [path for path in paths if path.is_file() and "__pycache__" not in path.parts]
    return [path for path in (ROOT / name for name in answer.split("\0") if name) if path.is_file()]


def test_no_file_carries_a_path_of_one_machine():
    anywhere = re.compile(rb"(?<![\w.~$}/*<-])/(home|root|Users|tmp|work|opt|mnt|scratch)/[A-Za-z0-9_.-]+")
    here = [f"{folder}/".encode() for folder in (ROOT, Path.home()) if len(folder.parts) > 1]
    for path in project_files():
        content = path.read_bytes()
        found = anywhere.search(content)
        assert not found, f"{path.relative_to(ROOT)} holds {found[0].decode()}"
        assert not any(folder in content for folder in here), f"{path.relative_to(ROOT)} names this machine's folders"


def test_the_lock_holds_versions_of_everything_required_and_nothing_else():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pin = re.compile(r"([a-z0-9][a-z0-9-]*)==[\w.]+( ; [a-z_]+ [!<>=]+ '[\w.]+'( and [a-z_]+ [!<>=]+ '[\w.]+')*)?")
    pins = [pin.fullmatch(line) for line in lines]
    assert all(pins), f"not a plain pin: {[line for line, match in zip(lines, pins, strict=True) if not match]}"
    locked = {match[1] for match in pins if match}
    asked = project["dependencies"] + project["optional-dependencies"]["test"]
    names = {re.split(r"[\[<>=!~ ;]", requirement)[0].lower().replace("_", "-") for requirement in asked}
    assert names <= locked, f"missing from requirements.lock: {sorted(names - locked)}"


def test_the_citation_names_the_version():
    version = re.search(r'^__version__ = "(.+)"$', SOURCES["sgdsde"].read_text(), re.MULTILINE)
    assert version
    assert f"\nversion: {version[1]}\n" in (ROOT / "CITATION.cff").read_text()
