"""The flags of a Config: its fields, with their docstrings, parsed by tyro."""

import argparse
import ast
import contextlib
import dataclasses
import io
import itertools
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from sgdsde.experiment.config import RESERVED, Experiment, check_names, field_kinds, normalised
from sgdsde.experiment.folders import ExperimentError, plain, shown

METAVARS = {float: "FLOAT", int: "INT", str: "TEXT"}
OWN_TEXTS = {"seed": "of all random numbers, from 0 to 2^32 - 1"}
"""of fields that need none"""


def parsed_config(experiment: Experiment, arguments: Sequence[str], *, command: str, default: Any) -> Any:
    """The Config with the fields given as `--field value ...`; the others are those of `default`. The values of a tuple
    are words, or one word with commas, in parentheses or not.

    Raises:
        ExperimentError: a field that does not exist (the nearest one is named), or a value that does not fit.
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
                args=_without_commas(arguments, field_kinds(experiment.config_class)),
                default=default,
                use_underscores=True,
            )
    except SystemExit:
        raise ExperimentError(
            f"{_unboxed(complaint.getvalue())} `sgdsde {command} FILE --help` shows the fields."
        ) from None
    return normalised(config)


def _without_commas(arguments: Sequence[str], kinds: dict[str, Any]) -> list[str]:
    """The words of a command with `1,2,3` and `(1,2,3)` as words of their own where the field is a tuple."""
    found, is_tuple = [], False
    for word in arguments:
        flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        if flag:
            is_tuple = typing.get_origin(kinds.get(flag[2:].replace("-", "_"))) is tuple
            found += [flag] if is_tuple or not equals else [word]
        if (equals or not flag) and (is_tuple or not flag):
            found += [part for part in re.split(r"[\s,()]+", value) if part] if is_tuple else [value]
    return found


def add_fields(parser: argparse.ArgumentParser, experiment: Experiment, default: Any, title: str) -> None:
    """Show the fields of an experiment in the help of a parser, beside its own flags."""
    texts = field_texts(experiment.file)
    group = parser.add_argument_group(title)
    for name, kind in field_kinds(experiment.config_class).items():
        value, text = getattr(default, name), texts.get(name) or OWN_TEXTS.get(name, "")
        entries = typing.get_args(kind)
        if typing.get_origin(kind) is typing.Literal:
            text = f"{text}{'; ' if text else ''}one of {', '.join(map(str, entries))}"
        settings: dict[str, Any] = {"help": f"{text} (default: {_shown(value)})".strip().replace("%", "%%")}
        if kind is bool:
            settings["action"] = "store_true"
        elif typing.get_origin(kind) is tuple:
            settings |= {"metavar": METAVARS[entries[0]], "nargs": "+"}
        else:
            settings["metavar"] = METAVARS.get(kind, "CHOICE")
        flags = (f"--{name}", f"--no_{name}") if kind is bool else (f"--{name}",)
        group.add_argument(*flags, **settings)


def _shown(value: Any) -> str:
    return " ".join(map(_shown, value)) if isinstance(value, tuple) else str(value)


def field_texts(file: Path) -> dict[str, str]:
    """What the docstrings below the fields of a file's Config say."""
    classes = [node for node in ast.parse(file.read_bytes()).body if isinstance(node, ast.ClassDef)]
    found = {}
    for body in (node.body for node in classes if node.name == "Config"):
        for field, below in itertools.pairwise(body):
            match (field, below):
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = " ".join(plain(text).split())
    return found


def _unboxed(text: str) -> str:
    """The first paragraph of a message that is drawn in a box."""
    lines = [line.strip("│ ") for line in text.splitlines() if line.startswith("│")]
    rules = [index for index, line in enumerate(lines) if line.startswith("─")]
    return " ".join(lines[: rules[0]] if rules else lines).rstrip(".") + "." if lines else text.strip()
