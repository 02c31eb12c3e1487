"""Where experiments live and what they are called: found and described without importing any of them."""

import ast
import difflib
from collections.abc import Iterable
from pathlib import Path

ABOUT_FOLDERS = "Go to a clone of the project, name a folder with --experiments DIR, or make a folder `experiments`."


class ExperimentError(Exception):
    """A mistake that the user can mend; its message is one readable paragraph."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint that names the valid name closest to a misspelt one, and all of them when there are few."""
    valid = sorted(valid)
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    hint = f"Did you mean `{close[0]}`? " if close else ""
    return f"{hint}Valid: {', '.join(valid)}." if valid else f"{hint}There are none.".strip()


def experiments_folder(given: str | Path | None = None) -> Path:
    """The folder of experiments: the one given, else the nearest `experiments/` at or above the current one.

    Raises:
        ExperimentError: there is none.
    """
    if given is not None:
        folder = Path(given).absolute()
        if not folder.is_dir():
            raise ExperimentError(f"--experiments {given}: there is no such folder.")
        return folder
    here = Path.cwd()
    for folder in (here, *here.parents):
        if folder.name == "experiments" and folder.is_dir() and experiment_files(folder):
            return folder
        if (folder / "experiments").is_dir():
            return folder / "experiments"
    raise ExperimentError(f"No folder `experiments` at or above the current folder. {ABOUT_FOLDERS}")


def experiment_files(folder: Path) -> dict[str, Path]:
    """The experiments in a folder, by name; a file whose name starts with an underscore is not one."""
    return {file.stem: file for file in sorted(folder.glob("*.py")) if not file.name.startswith("_")}


def experiment_file(named: str, experiments: str | Path | None = None) -> Path:
    """The file of an experiment, named by its path or by its name.

    Raises:
        ExperimentError: there is no such file; the message names the closest one.
    """
    path = Path(named)
    if path.is_file() and path.suffix == ".py":
        return path.absolute()
    if path.suffix == ".py" or len(path.parts) > 1:
        where = path.absolute().parent
        hint = nearest(path.stem, experiment_files(where)) if where.is_dir() else "Its folder does not exist."
        raise ExperimentError(f"{named}: there is no such experiment file. {hint}")
    folder = experiments_folder(experiments)
    files = experiment_files(folder)
    if named not in files:
        raise ExperimentError(f"There is no experiment `{named}` in {shown(folder)}. {nearest(named, files)}")
    return files[named]


def experiment_of(result: Path, name: str, experiments: str | Path | None = None) -> Path:
    """The file of the experiment that made a result folder: in the given folder, else at or above the result.

    Raises:
        ExperimentError: it is not there.
    """
    above = [place for parent in result.absolute().parents for place in (parent / "experiments", parent)]
    for folder in [Path(experiments).absolute()] if experiments else above:
        if (folder / f"{name}.py").is_file():
            return folder / f"{name}.py"
    raise ExperimentError(f"No file {name}.py of the experiment that made {shown(result)}; use --experiments DIR.")


def home(file: Path, experiments: str | Path | None = None) -> Path:
    """The folder that holds `runs/` and `results/` of an experiment file: beside its `experiments/`, else its own."""
    folder = file.absolute().parent
    is_experiments = folder.name == "experiments" or (experiments and Path(experiments).absolute() == folder)
    return folder.parent if is_experiments else folder


def description(file: Path) -> str:
    """The docstring of an experiment file, read without running it; empty where it has none.

    Raises:
        ExperimentError: the file is not Python.
    """
    try:
        return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    except (SyntaxError, UnicodeDecodeError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ExperimentError(f"{shown(file)}{line}: this is not valid Python: {error}") from error


def first_paragraph(text: str) -> str:
    """The first paragraph of a text as one line."""
    return " ".join(text.strip().split("\n\n")[0].split())


def shown(path: Path) -> str:
    """A path as a person reads it: relative to the current folder where it lies within."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
