"""The commands that compute: `run` and `reproduce`."""

import argparse
import sys
import traceback
from pathlib import Path
from typing import Any

from sgdsde.commands.parsing import (
    BROKEN,
    FAILED,
    PASSED,
    add_experiments_flag,
    add_file_flags,
    add_run_flags,
    complain,
    config_of,
    loaded,
    new_parser,
    parsed,
    unwritten,
)
from sgdsde.experiment import folders
from sgdsde.experiment.folders import ExperimentError


def run_parser() -> argparse.ArgumentParser:
    parser = new_parser("run", "Compute one experiment and save the result in runs/NAME/<hash>/.", add_help=False)
    parser.add_argument("file", nargs="?", metavar="FILE", help="an experiment file, or the name of an experiment")
    add_file_flags(parser)
    return parser


def run(arguments: list[str]) -> int:
    parser = run_parser()
    given, rest = parser.parse_known_args(arguments)
    if given.file is None and given.help:
        print(parser.format_help() + "\n--FIELD VALUE: any field of the experiment's Config; `sgdsde run FILE --help`.")
        return PASSED
    if given.file is None or (arguments[0].startswith("--") and rest and not Path(given.file).exists()):
        raise ExperimentError(
            "Name the experiment first: sgdsde run FILE [--FIELD VALUE ...]. `sgdsde list` names all."
        )
    experiment = loaded(given.file, given.experiments)
    default = experiment.smoke if given.smoke else experiment.config_class()
    config = config_of(parser, given, rest, experiment, "run", default)
    home = folders.home(experiment.file, given.experiments)
    folder = _computed(experiment, config, given, Path(given.output or home / "runs"), ["run", *arguments], home)
    return show_result(folder)


def reproduce_parser() -> argparse.ArgumentParser:
    parser = new_parser("reproduce", "Compute experiments as published and save them in results/NAME/.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments, by name or file")
    parser.add_argument("--all", action="store_true", help="every experiment")
    add_run_flags(parser)
    add_experiments_flag(parser)
    return parser


def reproduce(arguments: list[str]) -> int:
    given = parsed(reproduce_parser(), arguments)
    if bool(given.names) == given.all:
        raise ExperimentError("Name the experiments to reproduce, or say --all; `sgdsde list` names them.")
    names = folders.experiment_files(folders.experiments_folder(given.experiments)) if given.all else given.names
    files = {folders.experiment_file(name, given.experiments): None for name in names}
    experiments = [loaded(str(file), given.experiments) for file in files]
    flags = [f"--{flag}" for flag in ("smoke", "float64", "fresh") if getattr(given, flag)]
    flags += ["--device", given.device] if given.device else []
    status = PASSED
    for experiment in experiments:
        home = folders.home(experiment.file, given.experiments)
        config = experiment.smoke if given.smoke else experiment.config_class()
        published = home / "results" / experiment.name
        command = ["reproduce", experiment.name, *flags]
        folder = _computed(experiment, config, given, home / "runs", command, home, published)
        if not given.smoke and folder != published:
            from sgdsde.experiment.runner import publish_result

            publish_result(folder, published, experiment, _stacked(experiment))
            folder = published
        status = max(status, show_result(folder))
    return status


def confirm_parser() -> argparse.ArgumentParser:
    text = "Compute the smoke run of committed results anew: does today's code still make them?"
    parser = new_parser("confirm", text)
    parser.add_argument("names", nargs="*", metavar="NAME", help="results, by the names of their experiments")
    parser.add_argument("--all", action="store_true", help="every result whose code has changed")
    add_experiments_flag(parser)
    return parser


def confirm(arguments: list[str]) -> int:
    given = parsed(confirm_parser(), arguments)
    if bool(given.names) == given.all:
        raise ExperimentError("Name results, or say --all; `sgdsde gallery --check` names the stale ones.")
    from sgdsde.experiment import freshness, runner
    from sgdsde.experiment.device import choose_device

    choose_device(float64=False, device=None)
    names = folders.experiment_files(folders.experiments_folder(given.experiments)) if given.all else given.names
    status = PASSED
    for file in [folders.experiment_file(name, given.experiments) for name in names]:
        folder = folders.home(file, given.experiments) / "results" / file.stem
        if given.all and not (folder.is_dir() and freshness.has_changed(folder, file, "run")):
            continue
        experiment = loaded(str(file), given.experiments)
        differences = runner.confirm(experiment, folder, _stacked(experiment))
        said = f"another result: {'; '.join(differences)}. Next: sgdsde reproduce {file.stem}"
        print(f"{file.stem}: today's code makes {said if differences else 'the same arrays at smoke size'}")
        status = max(status, FAILED if differences else PASSED)
    return status


def _computed(
    experiment: Any,
    config: Any,
    given: argparse.Namespace,
    runs: Path,
    arguments: list[str],
    home: Path,
    published: Path | None = None,
) -> Path:
    from sgdsde.experiment import provenance, runner
    from sgdsde.experiment.device import choose_device

    choose_device(float64=given.float64, device=given.device)
    command = provenance.command_line(arguments, home)
    size = {"smoke": given.smoke, "fresh": given.fresh}
    try:
        return runner.run_experiment(
            experiment, config, **size, runs=runs, command=command, published=published, swept=_stacked(experiment)
        )
    except runner.RunError as error:
        if error.is_mistake:
            raise ExperimentError(str(error)) from error
        traceback.print_exception(error.__cause__)
        sys.exit(complain(str(error), BROKEN))
    except OSError as error:
        sys.exit(complain(unwritten(error, runs), BROKEN))


def _stacked(experiment: Any) -> Any:
    """What computes an experiment that sweeps itself."""
    if experiment.sweep is None:
        return None
    from sgdsde.sweeps.execution import stacked_arrays

    return stacked_arrays


def show_result(folder: Path, *, everything: bool = False) -> int:
    from sgdsde.experiment import report, results

    report.print_result(folder, everything=everything)
    verdict = results.read_verdict(folder)
    return FAILED if verdict is not None and verdict["passed"] is False else PASSED
