"""The files of a result taken in: without control characters, of the kinds that are expected, or refused in a sentence.

A result may come from anywhere: nothing in it is run, no name in it leads out of its folder, and nothing in it reaches
the screen as more than text.
"""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgdsde.experiment.folders import ExperimentError, plain, shown

LARGEST_TEXT = 2**26
"""bytes of a JSON or TOML file"""
DEEPEST = 30
"""tables and lists within each other"""
MEND = "Compute it anew with --fresh, or restore it from version control."


@dataclass(frozen=True)
class Kind:
    """A kind of value: what it is called, and which values are of it."""

    words: str
    fits: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


TEXT = Kind("a text", lambda value: isinstance(value, str))
NAME = Kind("a plain name", lambda value: isinstance(value, str) and value.isidentifier())
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
WHOLE = Kind("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool))
NUMBER = Kind("a number", lambda value: _is_number(value) or value in ("nan", "inf", "-inf"))
TABLE = Kind("a table", lambda value: isinstance(value, dict))
LIST = Kind("a list", lambda value: isinstance(value, list))


def _is_command(value: Any) -> bool:
    """Whether a text may be shown to be copied into a shell."""
    try:
        return isinstance(value, str) and shlex.join(shlex.split(value)) == value and value[:7] in ("", "sgdsde ")
    except ValueError:
        return False


COMMAND = Kind("a command `sgdsde ...`", _is_command)


@dataclass(frozen=True)
class Optional:
    """A kind, or nothing: null, or a key that is not there."""

    kind: Any


@dataclass(frozen=True)
class Each:
    """A table of any keys whose values are all of one kind."""

    kind: Any


def read_json(file: Path, kind: Any = TABLE) -> Any:
    """What a JSON file says, if it is of the kind: a `Kind`, an `Optional`, an `Each`, a list of one kind, or a
    dictionary from the keys that it needs to their kinds (it may have more).

    Raises:
        ExperimentError: the file is missing or damaged, or says something else.
    """
    return taken(parsed_json(file), kind, file)


def parsed_json(file: Path) -> Any:
    """What a JSON file says, as it stands there."""
    return _parsed(file, json.loads, "JSON")


def taken(value: Any, kind: Any, file: Path, mend: str = MEND) -> Any:
    """A value read from a file, without control characters.

    Raises:
        ExperimentError: it is of another kind; the place in the file is named.
    """
    wrong = _wrong(value, kind, "")
    if wrong:
        what = " is damaged or of another program" if mend == MEND else ""
        raise ExperimentError(f"{shown(file)}{what}: {wrong}. {mend}")
    return _plain(value)


def read_text(text: str, kind: Any, file: Path) -> Any:
    """What a text of a file says as JSON; raises as `read_json`."""
    return taken(_said(file, lambda: json.loads(text), "JSON"), kind, file)


def parsed_text(file: Path, parse: Callable[[str], Any], language: str) -> Any:
    """What a file says in some language, such as TOML; raises as `read_json`."""
    return _parsed(file, lambda content: parse(content.decode()), language)


def _parsed(file: Path, parse: Callable[[bytes], Any], language: str) -> Any:
    try:
        if not file.is_file():
            raise FileNotFoundError("there is no such file")
        if file.stat().st_size > LARGEST_TEXT:
            raise OSError(f"it has {file.stat().st_size / 2**20:,.0f} MiB")
        content = file.read_bytes()
    except OSError as error:
        raise ExperimentError(f"{shown(file)} cannot be read: {error.strerror or error}.") from error
    return _said(file, lambda: parse(content), language)


def _said(file: Path, parse: Callable[[], Any], language: str) -> Any:
    try:
        value = parse()
        _check(value)
    except RecursionError:
        raise ExperimentError(f"{shown(file)} is damaged: it is nested more than {DEEPEST} times.") from None
    except ValueError as error:
        raise ExperimentError(plain(f"{shown(file)} is not valid {language}: {error}.")) from error
    return value


def _check(value: Any, depth: int = 0) -> None:
    if depth > DEEPEST:
        raise RecursionError
    if isinstance(value, str):
        value.encode()  # half a character raises a ValueError
    for inner in (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check(inner, depth + 1)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {plain(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return plain(value) if isinstance(value, str) else value


def _wrong(value: Any, kind: Any, place: str) -> str:
    """What is wrong with a value, with its place; empty where nothing is."""
    if isinstance(kind, Optional):
        return "" if value is None else _wrong(value, kind.kind, place)
    if isinstance(kind, Kind):
        return "" if kind.fits(value) else _found(value, kind.words, place)
    if isinstance(kind, list):
        if not isinstance(value, list):
            return _found(value, LIST.words, place)
        return next(filter(None, (_wrong(inner, kind[0], f"{place}[{i}]") for i, inner in enumerate(value))), "")
    if not isinstance(value, dict):
        return _found(value, TABLE.words, place)
    inside = dict.fromkeys(value, kind.kind) if isinstance(kind, Each) else kind
    for key, inner in inside.items():
        within = plain(f"{place}.{key}").lstrip(".")
        if key not in value and not isinstance(inner, Optional):
            return f"`{within}` is missing"
        wrong = _wrong(value.get(key), inner, within)
        if wrong:
            return wrong
    return ""


def _found(value: Any, expected: str, place: str) -> str:
    text = plain(value if isinstance(value, str) else json.dumps(value, default=str))
    shortened = text if len(text) <= 40 else f"{text[:40]}..."
    return f"`{place}` is {shortened!r}, not {expected}" if place else f"it holds {shortened!r}, not {expected}"
