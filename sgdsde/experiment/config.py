"""An experiment file as an object, and its Config: which values it takes, and what identifies a result."""

import dataclasses
import hashlib
import importlib.util
import json
import sys
import traceback
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sgdsde.experiment.folders import ExperimentError, description, nearest, plain, shown
from sgdsde.experiment.sources import imported_files

LARGEST_SEED = 2**32 - 1
"""A key holds 32 bits of a seed; a larger one, or a negative one, would be another seed in disguise."""
RESERVED = ("smoke", "float64", "device", "fresh", "output", "experiments", "help")
"""Flags of the command, which no Config field may be named after."""

KINDS = "float, int, bool, str, a Literal of strings or ints, or a tuple of floats, ints or strings"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What an experiment file defines. `sweep` is its SWEEP, None where it has none: the axes that `run` and
    `reproduce` sweep, after which checks and plot get stacked arrays."""

    name: str
    file: Path
    config_class: type
    smoke: Any
    dimensions: dict[str, tuple[str, ...]]
    run: Callable
    checks: Callable
    plot: Callable
    description: str
    sweep: dict[str, Any] | None = None


def load_experiment(file: Path) -> Experiment:
    """Import an experiment file and check that it keeps the contract; nothing is computed.

    Raises:
        ExperimentError: the file fails to import, lacks a part, has a Config field of an unusable type, or makes
            JAX arrays at import.
    """
    name = file.stem
    if not name.isidentifier():
        raise ExperimentError(f"{shown(file)}: name it with letters, digits and underscores, such as `my_test.py`.")
    module = _import(file)
    missing = [part for part in ("Config", "SMOKE", "run", "checks", "plot") if not hasattr(module, part)]
    if missing:
        raise ExperimentError(
            f"{shown(file)} defines no `{'`, no `'.join(missing)}`. An experiment file defines Config, SMOKE, "
            "run(config, key), checks(config, arrays) and plot(config, arrays)."
        )
    _check_config_class(file, module.Config)
    if not isinstance(module.SMOKE, module.Config):
        raise ExperimentError(f"{shown(file)}: SMOKE must be a Config, such as SMOKE = Config(num_steps=20).")
    dimensions = getattr(module, "DIMENSIONS", {})
    if not isinstance(dimensions, dict) or not all(isinstance(names, tuple | list) for names in dimensions.values()):
        raise ExperimentError(f"{shown(file)}: DIMENSIONS must be a dictionary: array name to tuple of names.")
    if "jax" in sys.modules:
        array = sys.modules["jax"].Array
        made = [key for key, value in vars(module).items() if isinstance(value, array)]
        if made:
            raise ExperimentError(
                f"{shown(file)} makes a JAX array at import: `{made[0]}`. Make it inside run(), so that precision and "
                "device can still be chosen."
            )
    return Experiment(
        name=name,
        file=file,
        config_class=module.Config,
        smoke=normalised(module.SMOKE),
        dimensions={key: tuple(names) for key, names in dimensions.items()},
        run=module.run,
        checks=module.checks,
        plot=module.plot,
        description=description(file),
        sweep=_checked_sweep(file, getattr(module, "SWEEP", None)),
    )


def _checked_sweep(file: Path, sweep: Any) -> dict[str, Any] | None:
    parts = {"over", "zip", "seeds"}
    if sweep is not None and not (isinstance(sweep, dict) and sweep.keys() <= parts and sweep.get("over")):
        raise ExperimentError(
            f'{shown(file)}: SWEEP must be a dictionary like {{"over": {{"learning_rate": (0.1, 0.2)}}, "seeds": 4}}; '
            f"it may hold {', '.join(sorted(parts))}."
        )
    return sweep


def _import(file: Path) -> Any:
    identity = f"sgdsde_experiment_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(identity, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[identity] = module  # dataclasses look their module up by name
    try:  # not by exec_module: its bytecode is stale where an edit left size and second as they were
        exec(compile(file.read_bytes(), str(file), "exec", dont_inherit=True), module.__dict__)
    except Exception as error:
        del sys.modules[identity]
        if traceback.extract_tb(error.__traceback__)[-1].filename.endswith("jax/_src/config.py"):
            text = " ".join(str(error).split())
            raise ExperimentError(f"JAX cannot be imported: {text}. Mend or unset that variable.") from error
        raise ExperimentError(f"{shown(file)} cannot be imported: {reason(error, file)}") from error
    return module


def reason(error: BaseException, file: Path) -> str:
    """An exception in one line, with the last line of the experiment file that it passed through."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == str(file):
            line = frame.tb_lineno
        frame = frame.tb_next
    text = " ".join(str(error).split())
    if type(error).__module__ == "jax.errors":  # JAX is loaded, then
        from sgdsde.tracing import explained

        text = explained(error)[0]
    where = f" ({file.name}, line {line})" if line and f"line {line}" not in text else ""
    return f"{type(error).__name__}: {text}{where}" if text else f"{type(error).__name__}{where}"


def _check_config_class(file: Path, config_class: Any) -> None:
    where = f"{shown(file)}: Config"
    parameters = getattr(config_class, "__dataclass_params__", None)
    if not isinstance(config_class, type) or parameters is None or not parameters.frozen:
        raise ExperimentError(f"{where} must be a class decorated with @dataclass(frozen=True).")
    kinds = field_kinds(config_class)
    for field in dataclasses.fields(config_class):
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ExperimentError(f"{where}.{field.name} has no default value; every field needs one.")
        if field.name in RESERVED:
            raise ExperimentError(f"{where}.{field.name} is a flag of the command; give the field another name.")
        if not _is_usable(kinds[field.name]):
            raise ExperimentError(f"{where}.{field.name} is annotated {kinds[field.name]}; use {KINDS}.")
    if kinds.get("seed") is not int:
        raise ExperimentError(f"{where} needs a field `seed: int = 0`.")
    normalised(config_class())


def field_kinds(config_class: type) -> dict[str, Any]:
    """The annotation of each field; float and tuple-of-float fields are numbers to trace, all others are static."""
    hints = typing.get_type_hints(config_class)
    return {field.name: hints[field.name] for field in dataclasses.fields(config_class)}


def _is_usable(kind: Any) -> bool:
    if typing.get_origin(kind) is tuple:
        entries = [entry for entry in typing.get_args(kind) if entry is not Ellipsis]
        return bool(entries) and set(entries) <= {float, int, str} and len(set(entries)) == 1
    if typing.get_origin(kind) is typing.Literal:
        return all(isinstance(choice, str | int) for choice in typing.get_args(kind))
    return kind in (float, int, bool, str)


def changed(config: Any, values: Mapping[str, Any]) -> Any:
    """A Config with some fields replaced.

    Raises:
        ExperimentError: a field that does not exist (the nearest one is named), or a value that does not fit.
    """
    check_names(values, type(config))
    return normalised(config, values)


def check_names(names: Iterable[str], config_class: type, also: tuple[str, ...] = ()) -> None:
    """Refuse a name that is no field of the Config, nor one of the names in `also`."""
    valid = [field.name for field in dataclasses.fields(config_class)]
    for name in names:
        if name not in valid and name not in also:
            hint = nearest(name, (*valid, *also)).partition("Valid:")[0]
            flags = f" Flags of the command: {', '.join(f'--{each}' for each in sorted(also))}." if also else ""
            raise ExperimentError(f"There is no field `{name}`. {hint}Fields: {', '.join(sorted(valid))}.{flags}")


def normalised(config: Any, values: Mapping[str, Any] | None = None) -> Any:
    """A Config whose values are of the annotated types: integers become floats where a float is meant.

    Raises:
        ExperimentError: a value of another type, or one that is not finite; the field is named.
    """
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)} | dict(values or {})
    kinds = field_kinds(type(config))
    fitting = {name: converted(name, kinds[name], value) for name, value in values.items()}
    try:
        return type(config)(**fitting)
    except (TypeError, ValueError) as error:  # the file's own checks, in __post_init__
        raise ExperimentError(f"Config: {error}") from error


def converted(name: str, kind: Any, value: Any) -> Any:
    """A value as the annotation of its field asks for it.

    Raises:
        ExperimentError: it does not fit; the field is named.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        if not isinstance(value, tuple | list):
            raise ExperimentError(f"{name}: expected a tuple, got {value!r}; write ({value!r},) for a single value.")
        if Ellipsis not in arguments and len(value) != len(arguments):
            raise ExperimentError(f"{name}: expected {len(arguments)} values, got {len(value)}: {value!r}.")
        if not value:
            raise ExperimentError(f"{name}: expected at least one value, got none.")
        return tuple(converted(f"{name}[{index}]", arguments[0], entry) for index, entry in enumerate(value))
    if origin is typing.Literal:
        if value not in arguments:
            raise ExperimentError(f"{name}: got {value!r}. {nearest(str(value), map(str, arguments))}")
        return value
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()  # a NumPy scalar
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ExperimentError(f"{name}: expected a number, got {value!r}.")
        if abs(value) > sys.float_info.max or value != value:  # also a whole number that no float holds
            raise ExperimentError(f"{name}: expected a finite number, got {_short(value)}.")
        return float(value)
    if kind is int and (isinstance(value, bool) or not isinstance(value, int)):
        raise ExperimentError(f"{name}: expected a whole number, got {value!r}.")
    if kind is int and name == "seed" and not 0 <= value <= LARGEST_SEED:
        raise ExperimentError(f"seed: expected a whole number from 0 to {LARGEST_SEED:,}, got {_short(value)}.")
    if kind is int and not -(2**63) <= value < 2**63:
        raise ExperimentError(f"{name}: expected a whole number of at most 18 digits, got {_short(value)}.")
    if kind in (bool, str) and not isinstance(value, kind):
        raise ExperimentError(f"{name}: expected {'True or False' if kind is bool else 'a text'}, got {value!r}.")
    if kind is str and plain(value) != value:
        raise ExperimentError(f"{name}: expected one line of text without control characters, got {value!r}.")
    return value


def _short(value: Any) -> str:
    """A number as it is written, or its size where that is long."""
    return f"a number of more than {sys.float_info.max_10_exp} digits" if abs(value) > 10**300 else f"{value!r}"


def config_as_dict(config: Any) -> dict[str, Any]:
    """The fields of a Config as JSON can hold them."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def source_hash(file: Path) -> str:
    """SHA-256 of the experiment file, of the Python files that it imports from outside of the Python installation, and
    of every file of the package: changed code is another result."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for source in (file, *sorted(package.rglob("*.py"))):
        name = source.name if source is file else source.relative_to(package).as_posix()
        digest.update(f"{name}\0".encode() + hashlib.sha256(source.read_bytes()).digest())
    for name, source in sorted(imported_files(file).items()):
        digest.update(f"import {name}\0".encode() + hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()


def content_hash(source: str, **identity: Any) -> str:
    """The name of a result folder: what was computed (`identity`: config, size, precision, platform) by which code."""
    text = json.dumps({"source": source} | identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
