"""Where experiments live and what they are called: found and described without importing any of them."""

import ast
import contextlib
import difflib
import re
from collections.abc import Iterable
from pathlib import Path

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
"""what is no text: it moves the cursor, changes colours or the direction of writing, or cannot be encoded"""
ABOUT_FOLDERS = "Go to a clone of the project, name a folder with --experiments DIR, or make a folder `experiments`."


class ExperimentError(Exception):
    """A mistake that the user can mend; its message is one readable paragraph."""


def plain(text: str) -> str:
    """A text from a file, as one line that does nothing to a terminal."""
    return CONTROL.sub(" ", text)


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint that names the valid name closest to a misspelt one, and all of them when there are few."""
    valid = sorted(valid)
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    hint = f"Did you mean `{close[0]}`? " if close else ""
    return f"{hint}Valid: {', '.join(valid)}." if valid else f"{hint}There are none.".strip()


def check_current_folder() -> None:
    """Refuse to go on in a folder that somebody has deleted."""
    try:
        Path.cwd()
    except OSError:
        raise ExperimentError("The current folder no longer exists; go to another one, such as with `cd ~`.") from None


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
    return named_file(named, experiments)


def named_file(name: str, experiments: str | Path | None = None) -> Path:
    """The file of an experiment of this name in `experiments_folder(experiments)`; raises as `experiment_file`."""
    folder = experiments_folder(experiments)
    files = experiment_files(folder)
    if name not in files:
        raise ExperimentError(f"There is no experiment `{name}` in {shown(folder)}. {nearest(name, files)}")
    return files[name]


def experiment_of(result: Path, name: str, experiments: str | Path | None = None) -> Path:
    """The file of the experiment that made a result folder, in `experiments_folder(experiments)`: what lies beside the
    result is never run, since a result may come from anywhere.

    Raises:
        ExperimentError: it is not there.
    """
    if not name.isidentifier():
        raise ExperimentError(f"{shown(result)} names {plain(name)!r} as its experiment, which is no plain name.")
    file = experiments_folder(experiments) / f"{name}.py"
    if not file.is_file():
        raise ExperimentError(
            f"There is no {name}.py, which made {shown(result)}, in {shown(file.parent)}; name its folder with "
            "--experiments DIR. Code beside a result is never run."
        )
    return file


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
        text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        return "\n".join(map(plain, text.split("\n")))
    except (SyntaxError, ValueError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ExperimentError(f"{shown(file)}{line}: this is not valid Python: {error}") from error


def first_paragraph(text: str) -> str:
    """The first paragraph of a text as one line."""
    return " ".join(text.strip().split("\n\n")[0].split())


def shown(path: Path) -> str:
    """A path as a person reads it: relative to the current folder where it lies within."""
    with contextlib.suppress(ValueError, OSError):  # it lies elsewhere, or the current folder is gone
        path = path.absolute().relative_to(Path.cwd())
    return plain(str(path).encode(errors="surrogateescape").decode(errors="backslashreplace"))
