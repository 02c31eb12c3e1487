"""Which code a function of an experiment file can reach, read from source: the definitions that it names, those that
they name, and so on through the package and the files beside the experiment. Nothing is imported or run.

The digest of that code changes when a definition in reach changes by more than comments, docstrings and white space; it
stays when anything else does. What is chosen by a computed name (`getattr`) is out of sight.
"""

import ast
import functools
import hashlib
import io
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


Bound = dict[str, tuple[str, str | None]]
"""What imports bind: a name to (module, name within it, or None for the module itself)."""


@dataclass(frozen=True)
class Statement:
    """One statement at the top of a file: its bare text, the names in it (of `module.name` both), its own imports."""

    text: str
    names: frozenset[tuple[str, str | None]]
    imports: Bound


@dataclass(frozen=True)
class Module:
    """A source file: the statements that define each name, what its imports bind, all other statements."""

    definitions: dict[str, list[Statement]]
    imports: Bound
    others: list[Statement]


def digest_of(file: Path, roots: Iterable[str]) -> str:
    """SHA-256 of all the code that the named definitions of an experiment file reach; one that it lacks is nothing."""
    texts: dict[tuple[Path, str], str] = {}
    modules: dict[Path, Module] = {}
    places = [(file, root) for root in roots]
    while places:
        path, name = place = places.pop()
        if place in texts:
            continue
        module = modules[path] = modules.get(path) or _parsed(path.read_text(encoding="utf-8"))
        statements = module.definitions.get(name, []) if name else module.others
        texts[place] = "".join(statement.text for statement in statements)
        places.append((path, ""))
        if name in module.imports:
            places += _places(*module.imports[name], None, file)
        for statement in statements:
            imports = module.imports | statement.imports
            for used, attribute in statement.names:
                if used in module.definitions:
                    places.append((path, used))
                elif used in imports:
                    places += _places(*imports[used], attribute, file)
    shown = lambda path: path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else path.name
    lines = sorted(f"{shown(path)} {name} {text}" for (path, name), text in texts.items() if text)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _places(dotted: str, name: str | None, attribute: str | None, file: Path) -> list[tuple[Path, str]]:
    """Where an imported name is defined; everything in a module that is named as a whole."""
    submodule = _path(f"{dotted}.{name}", file) if name else _path(dotted, file)
    if submodule is not None and attribute is not None:
        return [(submodule, attribute)]
    if submodule is not None:
        module = _parsed(submodule.read_text(encoding="utf-8"))
        return [(submodule, each) for each in (*module.definitions, *module.imports)]
    path = _path(dotted, file)
    return [(path, name)] if path is not None and name else []


@functools.cache
def _path(dotted: str, file: Path) -> Path | None:
    """The source of a module of the package or of one beside the experiment; None for anything else."""
    parts = dotted.split(".")
    base = PACKAGE.parent.joinpath(*parts) if parts[0] == PACKAGE.name else file.parent.joinpath(*parts)
    return next((each for each in (base.with_name(f"{base.name}.py"), base / "__init__.py") if each.is_file()), None)


@functools.cache
def _parsed(source: str) -> Module:
    tree, lines = ast.parse(source), _bare_lines(source)
    module = Module({}, {}, [])
    for statement in tree.body:
        names = list(_defined(statement))
        if not names:
            module.imports.update(_bound(statement))
        for name in names:
            module.definitions.setdefault(name, []).append(_statement(statement, lines))
        if not names and not _only_imports(statement):
            module.others.append(_statement(statement, lines))
    return module


def _statement(statement: ast.stmt, lines: list[str]) -> Statement:
    nodes = list(ast.walk(statement))
    first = min([statement.lineno, *(each.lineno for each in getattr(statement, "decorator_list", []))])
    last, imports = statement.end_lineno, _bound(statement)
    within = {id(node.value): node.attr for node in nodes if isinstance(node, ast.Attribute)}
    names = frozenset((node.id, within.get(id(node))) for node in nodes if isinstance(node, ast.Name))
    return Statement("".join("".join(lines[first - 1 : last]).split()), names, imports)


def _defined(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))


def _only_imports(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.If):
        return all(_only_imports(each) for each in (*statement.body, *statement.orelse))
    is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return is_text or isinstance(statement, ast.Import | ast.ImportFrom)


def _bound(statement: ast.stmt) -> Bound:
    bound: Bound = {}
    for node in ast.walk(statement):
        if isinstance(node, ast.ImportFrom) and node.module:
            bound |= {each.asname or each.name: (node.module, each.name) for each in node.names}
        elif isinstance(node, ast.Import):
            bound |= {each.asname: (each.name, None) for each in node.names if each.asname}
    return bound


def _bare_lines(source: str) -> list[str]:
    """The lines of a file without comments and without strings that stand as statements (docstrings)."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return lines
