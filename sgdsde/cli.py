"""The command `sgdsde`.

Only a command that names an experiment imports it, and JAX with it. The fixed flags are parsed by argparse, because
tyro alone takes 0.4 s to load and `--help` must answer at once; the flags of a Config are made by tyro.
"""

import argparse
import contextlib
import os
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from sgdsde.experiment import folders
from sgdsde.experiment.folders import ExperimentError, shown

PASSED, FAILED, MISTAKE, BROKEN, INTERRUPTED = 0, 1, 2, 3, 130

HELP = """\
sgdsde: stochastic gradient descent beside its stochastic differential equations.

usage: sgdsde COMMAND ...

  run FILE [--FIELD VALUE ...]   compute one experiment, judge it, save and show the result (under runs/)
  reproduce NAME ... | --all     compute experiments as published, into results/NAME/
  list                           the experiments and what each one shows
  plot DIR | NAME                draw a figure again from its saved arrays
  judge DIR | NAME               ask the checks of saved arrays again, and draw; for checks that have changed
  gallery                        write results/README.md from the verdicts

`sgdsde COMMAND --help` shows the flags of a command, `sgdsde run FILE --help` those of an experiment.
  --version                      print the version
  -h, --help                     print this

examples:
  sgdsde list
  sgdsde run double_well_gibbs --smoke
  sgdsde run experiments/double_well_gibbs.py --learning_rate 0.02 --seed 3
  sgdsde reproduce --all

exit status: 0 done and passed; 1 a check failed; 2 a mistake in the command or the values; 3 the computation or the
disk failed; 130 interrupted.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; a user's mistake is printed as one paragraph."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return PASSED if arguments else MISTAKE
    try:
        if arguments[0] == "--version":
            print(f"sgdsde {_version()}")
            return PASSED
        if arguments[0] not in COMMANDS:
            raise ExperimentError(f"There is no command `{arguments[0]}`. {folders.nearest(arguments[0], COMMANDS)}")
        return COMMANDS[arguments[0]](arguments[1:])
    except ExperimentError as error:
        return _complain(str(error), MISTAKE)
    except SystemExit as leave:  # --help of a command, or a failure already explained
        return leave.code if isinstance(leave.code, int) else PASSED
    except KeyboardInterrupt:
        message = "Interrupted. The same command goes on where this one stopped; complete results are untouched."
        return _complain(message, INTERRUPTED, label="")
    except BrokenPipeError:  # the reader, such as `head`, has gone
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN
    except OSError as error:
        return _complain(_unwritten(error, Path.cwd()), BROKEN)


def _run(arguments: list[str]) -> int:
    parser = _parser("run", "Compute one experiment and save the result in runs/NAME/<hash>/.", add_help=False)
    parser.add_argument("file", nargs="?", metavar="FILE", help="an experiment file, or the name of an experiment")
    _add_run_flags(parser)
    parser.add_argument("--output", metavar="DIR", help="a folder that takes the place of runs/")
    _add_experiments_flag(parser)
    parser.add_argument("-h", "--help", action="store_true", help="show this, and the fields of FILE, and exit")
    given, rest = parser.parse_known_args(arguments)
    if given.file is None and given.help:
        print(parser.format_help() + "\n--FIELD VALUE: any field of the experiment's Config; `sgdsde run FILE --help`.")
        return PASSED
    if given.file is None or (arguments[0].startswith("--") and rest and not Path(given.file).exists()):
        raise ExperimentError(
            "Name the experiment first: sgdsde run FILE [--FIELD VALUE ...]. `sgdsde list` names all."
        )
    experiment = _load(given.file, given.experiments)
    from sgdsde.experiment.flags import parsed_config

    if given.help:
        print(parser.format_help() + f"\nfields of {experiment.name}{' at smoke size' if given.smoke else ''}:\n")
    config = parsed_config(experiment, rest, smoke=given.smoke, show_help=given.help)
    home = folders.home(experiment.file, given.experiments)
    folder = _compute(experiment, config, given, Path(given.output or home / "runs"), ["run", *arguments], home)
    return _show(folder)


def _reproduce(arguments: list[str]) -> int:
    parser = _parser("reproduce", "Compute experiments as published and save them in results/NAME/.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments, by name or file")
    parser.add_argument("--all", action="store_true", help="every experiment")
    _add_run_flags(parser)
    _add_experiments_flag(parser)
    given = _parse(parser, arguments)
    if bool(given.names) == given.all:
        raise ExperimentError("Name the experiments to reproduce, or say --all; `sgdsde list` names them.")
    names = folders.experiment_files(folders.experiments_folder(given.experiments)) if given.all else given.names
    files = {folders.experiment_file(name, given.experiments): None for name in names}
    loaded = [_load(str(file), given.experiments) for file in files]
    flags = [f"--{flag}" for flag in ("smoke", "float64", "fresh") if getattr(given, flag)]
    flags += ["--device", given.device] if given.device else []
    status = PASSED
    for experiment in loaded:
        home = folders.home(experiment.file, given.experiments)
        config = experiment.smoke if given.smoke else experiment.config_class()
        published = home / "results" / experiment.name
        command = ["reproduce", experiment.name, *flags]
        folder = _compute(experiment, config, given, home / "runs", command, home, published)
        if not given.smoke and folder != published:
            from sgdsde.experiment.runner import publish_result

            publish_result(folder, published)
            folder = published
        status = max(status, _show(folder))
    return status


def _plot(arguments: list[str]) -> int:
    experiment, folder = _saved("plot", "Draw a figure again from its saved arrays; nothing is computed.", arguments)
    from sgdsde.experiment.runner import redraw

    redraw(experiment, folder)
    print(f"figure: {shown(folder / 'figure.pdf')}")
    return PASSED


def _judge(arguments: list[str]) -> int:
    text = "Ask the checks of an experiment's saved arrays again and draw its figure; nothing is computed."
    experiment, folder = _saved("judge", text, arguments)
    from sgdsde.experiment.runner import judge_again

    judge_again(experiment, folder)
    return _show(folder)


def _saved(command: str, text: str, arguments: list[str]) -> tuple[Any, Path]:
    """The experiment and the folder of the saved result that a command is about."""
    parser = _parser(command, text)
    parser.add_argument("result", metavar="DIR|NAME", help="a result folder, or an experiment whose result is meant")
    _add_experiments_flag(parser)
    given = _parse(parser, arguments)
    folder = _result_folder(given.result, given.experiments)
    from sgdsde.experiment import results

    file = folders.experiment_of(folder, results.verified(folder)["experiment"], given.experiments)
    return _load(str(file), given.experiments), folder


def _list(arguments: list[str]) -> int:
    parser = _parser("list", "The experiments and what each one shows.")
    _add_experiments_flag(parser)
    given = _parse(parser, arguments)
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
        print(textwrap.fill(f"{name:{width}}  {claim}", max(_columns(), width + 40), subsequent_indent=indent))
    return PASSED


def _gallery(arguments: list[str]) -> int:
    parser = _parser("gallery", "Write results/README.md from the verdicts under results/.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is stale")
    _add_experiments_flag(parser)
    given = _parse(parser, arguments)
    experiments = folders.experiments_folder(given.experiments)
    results_folder = experiments.parent / "results"
    from sgdsde.experiment import gallery

    if given.check:
        stale = gallery.is_stale(experiments, results_folder)
        print(f"{shown(results_folder / 'README.md')} is {'stale: run `sgdsde gallery`' if stale else 'up to date'}")
        return FAILED if stale else PASSED
    print(f"gallery: {shown(gallery.write_gallery(experiments, results_folder))}")
    return PASSED


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": _run,
    "reproduce": _reproduce,
    "list": _list,
    "plot": _plot,
    "judge": _judge,
    "gallery": _gallery,
}


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ours to print."""

    def error(self, message: str) -> NoReturn:
        raise ExperimentError(f"{message}. `{self.prog} --help` shows what it takes.")


def _parser(command: str, text: str, **kwargs: Any) -> _Parser:
    usage = {"run": "sgdsde run FILE [flags] [--FIELD VALUE ...]"}.get(command)
    return _Parser(prog=f"sgdsde {command}", usage=usage, description=text, allow_abbrev=False, **kwargs)


def _add_run_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--smoke", action="store_true", help="the experiment's small size: checks are not judged")
    parser.add_argument("--float64", action="store_true", help="compute in double precision")
    parser.add_argument("--device", choices=("cpu", "gpu", "tpu"), help="where to compute; by default what JAX prefers")
    parser.add_argument("--fresh", action="store_true", help="compute even where the result is already there")


def _add_experiments_flag(parser: argparse.ArgumentParser) -> None:
    text = "the folder of experiments; by default the nearest `experiments` at or above the current folder"
    parser.add_argument("--experiments", metavar="DIR", help=text)


def _parse(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    given, rest = parser.parse_known_args(arguments)
    if rest:
        flags = [flag.lstrip("-") for flag in parser._option_string_actions if flag.startswith("--")]
        raise ExperimentError(f"{parser.prog} takes no `{rest[0]}`. {folders.nearest(rest[0].lstrip('-'), flags)}")
    return given


def _load(named: str, experiments: str | None) -> Any:
    from sgdsde.experiment.config import load_experiment

    return load_experiment(folders.experiment_file(named, experiments))


def _compute(
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
        return runner.run_experiment(experiment, config, **size, runs=runs, command=command, published=published)
    except runner.RunError as error:
        if error.is_mistake:
            raise ExperimentError(str(error)) from error
        traceback.print_exception(error.__cause__)
        sys.exit(_complain(str(error), BROKEN))
    except OSError as error:
        sys.exit(_complain(_unwritten(error, runs), BROKEN))


def _show(folder: Path) -> int:
    from sgdsde.experiment import report, results

    report.print_result(folder)
    verdict = results.read_verdict(folder)
    return FAILED if verdict is not None and verdict["passed"] is False else PASSED


def _result_folder(named: str, experiments: str | None) -> Path:
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


def _version() -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version("sgdsde")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed: running from its source)"


def _columns() -> int:
    return shutil.get_terminal_size((120, 24)).columns


def _unwritten(error: OSError, folder: Path) -> str:
    where = f" ({shown(Path(error.filename))})" if isinstance(error.filename, str) else ""
    while not folder.exists():
        folder = folder.absolute().parent
    free = f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB are free in {shown(folder)}."
    return f"{error.strerror or error}{where}. {free} Results that were complete before are untouched."


def _complain(message: str, status: int, label: str = "error: ") -> int:
    print(
        textwrap.fill(label + message, max(_columns(), 60), break_long_words=False, break_on_hyphens=False),
        file=sys.stderr,
    )
    return status
