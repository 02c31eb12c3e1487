"""The flags of a Config: made by tyro from the fields and their docstrings."""

import contextlib
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import tyro

from sgdsde.experiment.config import RESERVED, Experiment, check_names, normalised
from sgdsde.experiment.folders import ExperimentError, shown


def parsed_config(
    experiment: Experiment, arguments: Sequence[str], *, command: str, default: Any, show_help: bool = False
) -> Any:
    """The Config with the fields given as `--field value ...`; the others are those of `default`.

    Raises:
        ExperimentError: a field that does not exist (the nearest one is named), or a value that does not fit.
        SystemExit: after the help was printed.
    """
    names = [token[2:].partition("=")[0].replace("-", "_") for token in arguments if token.startswith("--")]
    negated = {f"no_{field.name}" for field in dataclasses.fields(experiment.config_class)}
    check_names([name for name in names if name not in negated], experiment.config_class, also=RESERVED)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            config = tyro.cli(
                experiment.config_class,
                prog=f"sgdsde {command} {shown(experiment.file)}",
                description=experiment.description,
                args=[*arguments, *(["--help"] if show_help else [])],
                default=default,
                use_underscores=True,
            )
    except SystemExit as leave:
        if not leave.code:
            raise
        raise ExperimentError(
            f"{_unboxed(complaint.getvalue())} `sgdsde {command} FILE --help` shows the fields."
        ) from None
    return normalised(config)


def _unboxed(text: str) -> str:
    """The first paragraph of a message that is drawn in a box."""
    lines = [line.strip("│ ") for line in text.splitlines() if line.startswith("│")]
    rules = [index for index, line in enumerate(lines) if line.startswith("─")]
    return " ".join(lines[: rules[0]] if rules else lines).rstrip(".") + "." if lines else text.strip()
