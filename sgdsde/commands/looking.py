"""The commands that look at what is there: `list`, `plot`, `judge`, `gallery`."""

import argparse
import textwrap
from pathlib import Path
from typing import Any

from sgdsde.commands.computing import show_result
from sgdsde.commands.parsing import FAILED, PASSED, add_experiments_flag, loaded, new_parser, num_columns, parsed
from sgdsde.experiment import folders
from sgdsde.experiment.folders import ExperimentError, shown


def list_parser() -> argparse.ArgumentParser:
    parser = new_parser("list", "The experiments and what each one shows.")
    add_experiments_flag(parser)
    return parser


def list_experiments(arguments: list[str]) -> int:
    given = parsed(list_parser(), arguments)
    folder = folders.experiments_folder(given.experiments)
    files = folders.experiment_files(folder)
    if not files:
        print(f"No experiments in {shown(folder)}.")
    width = max(map(len, files), default=0)
    for name, file in files.items():
        try:
            claim = folders.first_paragraph(folders.description(file)) or "(no docstring)"
        except ExperimentError as error:
            claim = f"({error})"
        indent = " " * (width + 2)
        print(textwrap.fill(f"{name:{width}}  {claim}", max(num_columns(), width + 40), subsequent_indent=indent))
    return PASSED


def plot(arguments: list[str]) -> int:
    given = parsed(plot_parser(), arguments)
    folder = result_folder(given.result, given.experiments)
    if (folder / "sweep.json").is_file():
        from sgdsde.sweeps.folder import redraw_sweep

        redraw_sweep(folder, given.values, given.at)
    elif given.values or given.at:
        raise ExperimentError("--values and --at choose from a sweep; the figure of a result is the experiment's own.")
    else:
        from sgdsde.experiment.runner import redraw

        redraw(_experiment_of(folder, given.experiments), folder)
    print(f"figure: {shown(folder / 'figure.png')}")
    return PASSED


def plot_parser() -> argparse.ArgumentParser:
    text = (
        "Draw a figure again from its saved arrays; nothing is computed. Rewrites figure and provenance.json in place."
    )
    parser = saved_parser("plot", text)
    parser.add_argument("--values", nargs="+", metavar="NAME", help="of a sweep: which values to draw")
    parser.add_argument("--at", nargs="+", default=[], metavar="FIELD=VALUE", help="of a sweep: fields to hold fixed")
    return parser


def judge(arguments: list[str]) -> int:
    given = parsed(judge_parser(), arguments)
    folder = result_folder(given.result, given.experiments)
    from sgdsde.experiment.runner import judge_again

    judge_again(_experiment_of(folder, given.experiments), folder)
    return show_result(folder)


def judge_parser() -> argparse.ArgumentParser:
    text = (
        "Ask the checks of an experiment's saved arrays again and draw its figure; nothing is computed. Rewrites "
        "verdict.json, summary.csv, figure and provenance.json in place."
    )
    return saved_parser("judge", text)


def saved_parser(command: str, text: str) -> argparse.ArgumentParser:
    """Of a command that is about one saved result."""
    parser = new_parser(command, text)
    parser.add_argument("result", metavar="DIR|NAME", help="a result folder, or an experiment whose result is meant")
    add_experiments_flag(parser)
    return parser


def _experiment_of(folder: Path, experiments: str | None) -> Any:
    from sgdsde.experiment import results

    if not (folder / "data.nc").is_file():
        raise ExperimentError(
            f"{shown(folder)} holds no arrays of an experiment; `sgdsde show DIR` prints what it holds."
        )
    file = folders.experiment_of(folder, results.verified(folder)["experiment"], experiments)
    return loaded(str(file), experiments)


def gallery_parser() -> argparse.ArgumentParser:
    parser = new_parser("gallery", "Write results/README.md from the verdicts under results/.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page or result is stale")
    add_experiments_flag(parser)
    return parser


def gallery(arguments: list[str]) -> int:
    given = parsed(gallery_parser(), arguments)
    experiments = folders.experiments_folder(given.experiments)
    results_folder = experiments.parent / "results"
    from sgdsde.experiment import gallery

    if given.check:
        stale = gallery.stale_pages(experiments, results_folder)
        for page in stale or [results_folder / "README.md"]:
            print(f"{shown(page)} is {'stale: run `sgdsde gallery`' if stale else 'up to date'}")
        old = gallery.stale_results(experiments, results_folder)
        print("\n".join(old) or "every result is what today's code makes")
        return FAILED if stale or old else PASSED
    print(f"gallery: {shown(gallery.write_gallery(experiments, results_folder))}")
    return PASSED


def result_folder(named: str, experiments: str | None) -> Path:
    """A result folder by its path, or by the experiment's name: the committed one, else the latest run."""
    if any((Path(named) / file).is_file() for file in ("provenance.json", "sweep.json")):
        return Path(named).absolute()
    if len(Path(named).parts) > 1 and not Path(named).exists():
        raise ExperimentError(f"{named}: there is no such folder.")
    if Path(named).exists() or len(Path(named).parts) > 1:
        raise ExperimentError(f"{named} is not a result folder: it holds no provenance.json.")
    home = folders.experiments_folder(experiments).parent
    found = [home / "results" / named, *(home / "runs" / named).glob("[!.]*")]
    found = [folder for folder in found if (folder / "data.nc").is_file()]
    if not found:
        raise ExperimentError(f"There is no result of `{named}` yet: sgdsde run {named}.")
    return found[0] if found[0].parent.name == "results" else max(found, key=lambda folder: folder.stat().st_mtime)
