"""The commands that look at what is there: `list`, `plot`, `judge`, `gallery`."""

import textwrap
from pathlib import Path
from typing import Any

from sgdsde.commands.computing import show
from sgdsde.commands.parsing import FAILED, PASSED, add_experiments_flag, loaded, new_parser, num_columns, parsed
from sgdsde.experiment import folders
from sgdsde.experiment.folders import ExperimentError, shown


def list_experiments(arguments: list[str]) -> int:
    parser = new_parser("list", "The experiments and what each one shows.")
    add_experiments_flag(parser)
    given = parsed(parser, arguments)
    folder = folders.experiments_folder(given.experiments)
    files = folders.experiment_files(folder)
    if not files:
        print(f"No experiments in {shown(folder)}.")
    width = max(map(len, files), default=0)
    for name, file in files.items():
        try:
            claim = folders.description(file).split("\n")[0] or "(no docstring)"
        except ExperimentError as error:
            claim = f"({error})"
        indent = " " * (width + 2)
        print(textwrap.fill(f"{name:{width}}  {claim}", max(num_columns(), width + 40), subsequent_indent=indent))
    return PASSED


def plot(arguments: list[str]) -> int:
    experiment, folder = _saved("plot", "Draw a figure again from its saved arrays; nothing is computed.", arguments)
    from sgdsde.experiment.runner import redraw

    redraw(experiment, folder)
    print(f"figure: {shown(folder / 'figure.pdf')}")
    return PASSED


def judge(arguments: list[str]) -> int:
    text = "Ask the checks of an experiment's saved arrays again and draw its figure; nothing is computed."
    experiment, folder = _saved("judge", text, arguments)
    from sgdsde.experiment.runner import judge_again

    judge_again(experiment, folder)
    return show(folder)


def _saved(command: str, text: str, arguments: list[str]) -> tuple[Any, Path]:
    """The experiment and the folder of the saved result that a command is about."""
    parser = new_parser(command, text)
    parser.add_argument("result", metavar="DIR|NAME", help="a result folder, or an experiment whose result is meant")
    add_experiments_flag(parser)
    given = parsed(parser, arguments)
    folder = result_folder(given.result, given.experiments)
    from sgdsde.experiment import results

    file = folders.experiment_of(folder, results.verified(folder)["experiment"], given.experiments)
    return loaded(str(file), given.experiments), folder


def gallery(arguments: list[str]) -> int:
    parser = new_parser("gallery", "Write results/README.md from the verdicts under results/.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is stale")
    add_experiments_flag(parser)
    given = parsed(parser, arguments)
    experiments = folders.experiments_folder(given.experiments)
    results_folder = experiments.parent / "results"
    from sgdsde.experiment import gallery

    if given.check:
        stale = gallery.is_stale(experiments, results_folder)
        print(f"{shown(results_folder / 'README.md')} is {'stale: run `sgdsde gallery`' if stale else 'up to date'}")
        return FAILED if stale else PASSED
    print(f"gallery: {shown(gallery.write_gallery(experiments, results_folder))}")
    return PASSED


def result_folder(named: str, experiments: str | None) -> Path:
    """A result folder by its path, or by the experiment's name: the committed one, else the latest run."""
    if (Path(named) / "provenance.json").is_file():
        return Path(named).absolute()
    if Path(named).is_dir() or len(Path(named).parts) > 1:
        raise ExperimentError(f"{named} is not a result folder: it holds no provenance.json.")
    home = folders.experiments_folder(experiments).parent
    found = [home / "results" / named, *(home / "runs" / named).glob("[!.]*")]
    found = [folder for folder in found if (folder / "data.nc").is_file()]
    if not found:
        raise ExperimentError(f"There is no result of `{named}` yet: sgdsde run {named}.")
    return found[0] if found[0].parent.name == "results" else max(found, key=lambda folder: folder.stat().st_mtime)
