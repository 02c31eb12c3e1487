"""Which files of the user's own an experiment file imports: they are part of the code that a result comes from."""

import ast
import importlib.util
import sys
import sysconfig
from pathlib import Path

FOREIGN = {"sgdsde", *sys.stdlib_module_names}


def imported_files(file: Path) -> dict[str, Path]:
    """The user's own modules that a Python file imports, and those that these import, by name: what stands in an
    `import` anywhere in their text and lies neither in the package nor in the Python installation. Nothing is imported.
    """
    found: dict[str, Path] = {}
    unread = [("", file)]
    while unread:
        package, source = unread.pop()
        for name in sorted(_imported_names(source, package) - found.keys()):
            origin = _own_source(name)
            if origin is not None:
                found[name] = origin
                unread.append((name if origin.name == "__init__.py" else name.rpartition(".")[0], origin))
    return found


def _imported_names(source: Path, package: str) -> set[str]:
    """The modules that a file of a package imports, the packages around them, and the names in its `from` lines."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            around = package.split(".")
            parents = around[: len(around) - node.level + 1] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    names |= {name[:end] for name in names for end in range(len(name)) if name[end] == "."}
    return {name for name in names if name.partition(".")[0] not in FOREIGN | {""}}


def _own_source(name: str) -> Path | None:
    """The file of a module outside of the Python installation; None where there is none."""
    top, *inside = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):  # a module that was made, not found
        return None
    if spec is None:
        return None
    places = [Path(place).joinpath(*inside) for place in spec.submodule_search_locations or ()]
    candidates = [path for place in places for path in (place / "__init__.py", place.with_suffix(".py"))]
    if not inside and spec.origin:
        candidates = [Path(spec.origin)]
    installation = Path(sysconfig.get_path("stdlib")).resolve()
    for path in candidates:
        is_installed = {"site-packages", "dist-packages"} & set(path.parts) or path.resolve().is_relative_to(
            installation
        )
        if path.suffix == ".py" and path.is_file() and not is_installed:
            return path
    return None
