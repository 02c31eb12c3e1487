"""Flags, their parsing, and how a mistake is told: what all commands share."""

import argparse
import re
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any, NoReturn

from sgdsde.experiment import folders
from sgdsde.experiment.folders import ExperimentError, shown

PASSED, FAILED, MISTAKE, BROKEN, INTERRUPTED = 0, 1, 2, 3, 130
"""exit statuses: done and passed; a check failed; a mistake in the command or the values; the computation or the disk
failed; interrupted"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ours to print."""

    def error(self, message: str) -> NoReturn:
        raise ExperimentError(f"{message}. `{self.prog} --help` shows what it takes.")


def new_parser(command: str, text: str, **kwargs: Any) -> Parser:
    usage = {"run": "sgdsde run FILE [flags] [--FIELD VALUE ...]"}.get(command)
    return Parser(prog=f"sgdsde {command}", usage=usage, description=text, allow_abbrev=False, **kwargs)


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--smoke", action="store_true", help="the experiment's small size: checks are not judged")
    parser.add_argument("--float64", action="store_true", help="compute in double precision")
    parser.add_argument("--device", choices=("cpu", "gpu", "tpu"), help="where to compute; by default what JAX prefers")
    parser.add_argument("--fresh", action="store_true", help="compute even where the result is already there")


def add_experiments_flag(parser: argparse.ArgumentParser) -> None:
    text = "the folder of experiments; by default the nearest `experiments` at or above the current folder"
    parser.add_argument("--experiments", metavar="DIR", help=text)


def add_file_flags(parser: argparse.ArgumentParser) -> None:
    """Of a command that computes one experiment under runs/."""
    add_run_flags(parser)
    parser.add_argument("--output", metavar="DIR", help="a folder that takes the place of runs/")
    add_experiments_flag(parser)
    parser.add_argument("-h", "--help", action="store_true", help="show this, and the fields of FILE, and exit")


def parsed(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    given, rest = parser.parse_known_args(arguments)
    if rest:
        flags = [flag.lstrip("-") for flag in parser._option_string_actions if flag.startswith("--")]
        raise ExperimentError(f"{parser.prog} takes no `{rest[0]}`. {folders.nearest(rest[0].lstrip('-'), flags)}")
    return given


def loaded(named: str, experiments: str | None) -> Any:
    from sgdsde.experiment.config import load_experiment

    return load_experiment(folders.experiment_file(named, experiments))


def config_of(
    parser: argparse.ArgumentParser,
    given: argparse.Namespace,
    rest: list[str],
    experiment: Any,
    command: str,
    default: Any,
) -> Any:
    """The Config that the rest of a command asks for; with --help, prints the claim, the flags and the fields, and
    leaves."""
    from sgdsde.experiment.flags import add_fields, parsed_config

    if given.help:
        size = " at smoke size" if given.smoke else ""
        add_fields(parser, experiment, default, f"fields of {experiment.name}{size}")
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.description = wrapped(f"{parser.description}\n\n{experiment.description}")
        print(parser.format_help(), end="")
        sys.exit(PASSED)
    return parsed_config(experiment, rest, command=command, default=default)


def wrapped(text: str) -> str:
    """Paragraphs at the width of the terminal; a docstring's `Source:` and the like begin lines."""
    begins = "Source|Command|One should see|What it does not say"
    paragraphs = re.split(rf"\n\s*\n|(?<=\S)\s+(?=(?:{begins}):)", text.strip())
    width = max(num_columns() - 2, 40)
    whole = {"break_long_words": False, "break_on_hyphens": False}
    return "\n\n".join(textwrap.fill(" ".join(part.split()), width, **whole) for part in paragraphs)


def num_columns() -> int:
    return shutil.get_terminal_size((120, 24)).columns


def unwritten(error: OSError, folder: Path) -> str:
    where = f" ({shown(Path(error.filename))})" if isinstance(error.filename, str) else ""
    while not folder.exists():
        folder = folder.absolute().parent
    free = f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB are free in {shown(folder)}."
    return f"{error.strerror or error}{where}. {free} Results that were complete before are untouched."


def complain(message: str, status: int, label: str = "error: ") -> int:
    print(
        textwrap.fill(
            folders.plain(label + message), max(num_columns(), 60), break_long_words=False, break_on_hyphens=False
        ),
        file=sys.stderr,
    )
    return status
