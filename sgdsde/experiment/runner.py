"""One experiment, from Config to result folder: check the shapes, compute, save, judge, draw; publish in results/."""

import contextlib
import dataclasses
import functools
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sgdsde import style
from sgdsde.checkpointing import checkpoints
from sgdsde.experiment import freshness, provenance, results
from sgdsde.experiment.check import Check, judge
from sgdsde.experiment.config import (
    Experiment,
    changed,
    check_names,
    config_as_dict,
    content_hash,
    normalised,
    reason,
    source_hash,
)
from sgdsde.experiment.files import locked, publish, recover, working_copy, working_folder
from sgdsde.experiment.folders import ExperimentError, shown
from sgdsde.experiment.validation import MEND
from sgdsde.progress import one_bar, told_sizes

LARGEST_DATA = 1_000_000
"""Bytes of `data.nc` that may lie under results/, which is committed."""


IN_A_HURRY = {"xla_backend_optimization_level": "0", "xla_llvm_disable_expensive_passes": "True"}
"""options of XLA's compiler for what runs a moment"""

BEFORE = "run, before computing"
WRITING = ("data", "summary", "figure")
UNTRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


class RunError(Exception):
    """An experiment raised an exception: the folder that records it, and whether the user's values caused it."""

    def __init__(self, message: str, *, is_mistake: bool):
        super().__init__(message)
        self.is_mistake = is_mistake


def run_experiment(
    experiment: Experiment,
    config: Any,
    *,
    smoke: bool,
    fresh: bool,
    runs: Path,
    command: str,
    published: Path | None = None,
    swept: Callable[..., tuple] | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Compute one result folder, `runs/NAME/<hash>`, or find it there complete.

    Args:
        experiment: the experiment file.
        config: its Config.
        smoke: print the checks, do not judge them.
        fresh: compute even if a complete result of the same code and config is there.
        runs: the folder `runs`.
        command: what is recorded as the command.
        published: another folder, `results/NAME`, in which the same result may already be.
        swept: for a file with a SWEEP: (experiment, config, smoke, folder for unfinished work) to stacked arrays and
            the names of their dimensions.
        say: receives each line of progress.

    Returns:
        The folder. An earlier complete result stays whole until the new one is complete, whatever happens.

    Raises:
        ExperimentError: the file breaks the contract.
        RunError: run, checks or plot raised an exception; what was computed is kept, with the reason.
        KeyboardInterrupt: Ctrl-C; likewise.
        OSError: the result cannot be written.
    """
    config = normalised(config)
    values = config_as_dict(config)
    target = runs / experiment.name / identity_of(experiment, config=values, smoke=smoke)
    size = "smoke size" if smoke else "full size"
    for place in () if fresh else (published, target):
        if place is not None and is_complete(place, target.name, say):
            say(f"{experiment.name}: already computed with this code and config, shown again; --fresh computes anew")
            return place
    record = opened_record(experiment, smoke=smoke, seed=config.seed, command=command, named=target.name)
    say(f"{experiment.name}: {size}, {record['dtype']}, {record['platform']} -> {shown(target)}")
    started = time.monotonic()
    provenance.reset_peak_memory()
    with working_folder(target) as work:
        results.write_json(work / "config.json", values)
        results.write_provenance(work, record, seal=False)
        stage, failure, status, why = _Stage(), None, "done", None
        try:
            with _checkpoints_beside(target, experiment.name, fresh, stage, say) as beside:
                compute = None if swept is None else functools.partial(swept, experiment, config, smoke, beside)
                _fill(work, experiment, config, smoke, stage, say, compute)
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            why = None if status == "interrupted" else f"{stage.name}: {reason(error, experiment.file)}"
            failure = error
        record |= {"status": status, "reason": why, "end": provenance.now()}
        record |= {"wall_seconds": round(time.monotonic() - started, 2), **provenance.peak_memory()}
        if failure is None:
            results.write_provenance(work, record, seal=True)
            publish(work, target)
            return target
        with contextlib.suppress(OSError):  # a full disk: the reason is on the screen
            if stage.name != BEFORE and not is_complete(target, target.name, lambda line: None):
                results.write_provenance(work, record, seal=True)
                publish(work, target)
    explained = failure if stage.name in WRITING else _explained(experiment, failure, why)
    if explained is failure:
        raise failure
    raise explained from failure


def identity_of(experiment: Experiment, **values: Any) -> str:
    """The hash that names what an experiment computes: its code, these values, precision, platform and the generator
    of random numbers."""
    environment = provenance.environment()
    kept = {name: environment[name] for name in ("dtype", "platform", "random_numbers")}
    return content_hash(source_hash(experiment.file), **values, **kept)


def opened_record(experiment: Experiment, *, smoke: bool, seed: int, command: str, named: str) -> dict[str, Any]:
    """The provenance of a result that is being computed: code, command, versions, device. `named`: its folder."""
    return {
        "schema": results.SCHEMA,
        "experiment": experiment.name,
        "status": "running",
        "reason": None,
        "command": command,
        "smoke": smoke,
        "seed": seed,
        **provenance.commit(experiment.file.parent),
        "source": source_hash(experiment.file),
        "hash": named,
        "start": provenance.now(),
        "end": None,
        **provenance.environment(),
    }


@contextlib.contextmanager
def _checkpoints_beside(target: Path, name: str, fresh: bool, stage: "_Stage", say: Callable) -> Iterator[Path | None]:
    """Long simulations write what they have done beside the place of the result, under its hash; removed once the
    arrays are saved. One process at a time: a second one on the same result computes without."""
    folder = target.with_name(f".{target.name}.checkpoints")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder) as is_mine:
        if not is_mine:
            say(f"{name}: another process computes the same; its checkpoints are left to it")
            yield None
            return
        if fresh:
            for part in folder.iterdir():
                shutil.rmtree(part, ignore_errors=True)
        elif any(folder.iterdir()):
            say(f"{name}: going on from the checkpoints of a run that did not end")
        try:
            with checkpoints(folder):
                yield folder
        finally:
            if stage.name not in ("run", "data") or not any(folder.iterdir()):
                shutil.rmtree(folder, ignore_errors=True)


def is_complete(folder: Path, identity: str, say: Callable[[str], None]) -> bool:
    """Whether a folder holds a finished, undamaged result with this hash; says so when it is damaged."""
    recover(folder)
    if not (folder / "provenance.json").exists():
        return False
    try:
        record = results.verified(folder)
    except ExperimentError as error:
        say(f"computing anew: {error}")
        return False
    return record["status"] == "done" and record["hash"] == identity


@dataclasses.dataclass
class _Stage:
    """What is being done, for the record of a failure."""

    name: str = BEFORE


def _fill(
    work: Path,
    experiment: Experiment,
    config: Any,
    smoke: bool,
    stage: _Stage,
    say: Callable,
    swept: Callable[[], tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]] | None,
) -> None:
    """Everything between an empty working folder and one that lacks only its final provenance."""
    if swept is None:
        compute, sizes = _checked_run(experiment, config, smoke, say)
        stage.name = "run"
        with one_bar(sizes):
            arrays = _on_host(compute(jax.random.key(config.seed)))
        stage.name = "data"
        shapes = {name: array.shape for name, array in arrays.items()}
        dimensions = results.named_dimensions(shapes, experiment.dimensions)
    else:
        arrays, dimensions = swept()
        stage.name = "data"
    attributes = {"experiment": experiment.name, "title": experiment.description.split("\n")[0]}
    results.write_arrays(work / "data.nc", arrays, dimensions, attributes)
    stage.name = "checks"
    checks, failure = _asked(experiment, config, arrays, smoke)
    stage.name = "summary"
    results.write_summary(work / "summary.csv", arrays, checks, judged=not smoke)
    results.write_json(work / "verdict.json", _verdict(experiment, config, checks, smoke) | failure)
    stage.name = "plot"
    try:
        drawn = _drawn(experiment, config, arrays)
    except Exception as error:
        if not failure:
            raise
        say(f"{experiment.name}: no figure either: {reason(error, experiment.file)}")
        return
    stage.name = "figure"
    style.save(drawn, work)


def _asked(
    experiment: Experiment, config: Any, arrays: Mapping[str, np.ndarray], smoke: bool
) -> tuple[list[Check], dict[str, str]]:
    """The checks, and what they raised: at smoke size they judge nothing, so that they cost no arrays either."""
    try:
        return checked(experiment, config, arrays), {}
    except ExperimentError:
        raise
    except Exception as error:
        if not smoke:
            raise
        return [], {"check_failure": reason(error, experiment.file)}


def _checked_run(
    experiment: Experiment, config: Any, smoke: bool, say: Callable
) -> tuple[Callable[[Any], dict[str, Any]], list[int]]:
    """`run` as a function of the key, once it is traced: a mistake in a value or a shape costs no compilation. And the
    sizes of the simulations whose progress it will show.

    At the file's own smoke size what was traced is compiled as one program, in a hurry: a hundred small ones would
    take most of the time. It shows no progress and keeps no checkpoints, so other sizes run step by step."""
    compute = functools.partial(experiment.run, config)
    try:
        with told_sizes() as told:
            traced = trace_run(experiment, config)
    except UNTRACEABLE:
        say(f"{experiment.name}: run() cannot be traced: its shapes are not checked first, and it cannot be swept")
        return compute, []
    if not smoke or config != normalised(experiment.smoke):
        if told.sizes:
            many = "1 simulation" if len(told.sizes) == 1 else f"{len(told.sizes)} simulations"
            amount = f"{many}, {sum(told.sizes):.2g} steps of single chains"
            say(f"{experiment.name}: {amount}; compiling the first")
        return compute, told.sizes
    say(f"{experiment.name}: compiling it as one program")
    return traced.lower().compile(compiler_options=IN_A_HURRY), []


def trace_run(experiment: Experiment, config: Any) -> Any:
    """`run` for a Config, traced (`jax.jit(...).trace`), once the shapes of its arrays are checked; nothing is
    computed.

    Raises:
        ExperimentError: no dictionary of named arrays, or arrays that do not fit DIMENSIONS.
        Exception: whatever `run` raises; one of UNTRACEABLE where it needs numbers that only a computation gives.
    """

    def named(key: Any) -> dict[str, Any]:
        arrays = experiment.run(config, key)
        _check_named(arrays)
        return arrays

    traced = jax.jit(named).trace(jax.random.key(config.seed))
    results.named_dimensions({name: array.shape for name, array in traced.out_info.items()}, experiment.dimensions)
    return traced


def _check_named(arrays: Any) -> None:
    if not isinstance(arrays, dict) or not arrays:
        raise ExperimentError(f"run() must return a dictionary of named arrays, got {type(arrays).__name__}.")
    for name in arrays:
        if not isinstance(name, str) or not name.isidentifier():
            raise ExperimentError(f"run() returned an array named {name!r}; use letters, digits and underscores.")
        if not hasattr(arrays[name], "shape") and not isinstance(arrays[name], int | float):
            raise ExperimentError(
                f"run() returned {type(arrays[name]).__name__} as `{name}`; each value must be one array, not a pytree."
            )


def _on_host(arrays: Any) -> dict[str, np.ndarray]:
    """The arrays of `run` as NumPy arrays, once they are computed."""
    _check_named(arrays)
    host = {name: np.asarray(array) for name, array in jax.device_get(arrays).items()}
    for name, array in host.items():
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise ExperimentError(
                f"`{name}` has dtype {array.dtype}, which data.nc cannot hold; return real numbers, a complex one as "
                "its real and imaginary parts."
            )
    return host


def checked(experiment: Experiment, config: Any, arrays: Mapping[str, np.ndarray]) -> list[Check]:
    """The checks of an experiment for some arrays.

    Raises:
        ExperimentError: not a list of checks, none, or two of one name.
    """
    checks = experiment.checks(config, dict(arrays))
    if not isinstance(checks, list) or not checks or not all(isinstance(check, Check) for check in checks):
        raise ExperimentError("checks() must return a list of Check, at least one.")
    names = [check.name for check in checks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ExperimentError(f"checks() returned two checks of one name: {twice[0]!r}.")
    return checks


def _verdict(experiment: Experiment, config: Any, checks: list[Check], smoke: bool) -> dict[str, Any]:
    rows = [check.as_dict() | ({"verdict": None} if smoke else {}) for check in checks]
    passed = None if smoke else judge(checks)
    return {
        "experiment": experiment.name,
        "config": config_as_dict(config),
        "smoke": smoke,
        "passed": passed,
        "checks": rows,
    }


def _drawn(experiment: Experiment, config: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The figure of saved arrays, drawn without a window."""
    import matplotlib

    matplotlib.use("Agg")
    with style.context():
        drawn = experiment.plot(config, dict(arrays))
    if not hasattr(drawn, "savefig"):
        raise ExperimentError(f"plot() must return one matplotlib Figure, got {type(drawn).__name__}.")
    return drawn


def redraw(experiment: Experiment, folder: Path, say: Callable[[str], None] = print) -> None:
    """Draw the figure of a result folder again, from its saved arrays and its config.

    Raises:
        ExperimentError: the folder is damaged, holds no arrays, or its config no longer fits the experiment file.
    """
    _again(experiment, folder, say, judged=False)


def judge_again(experiment: Experiment, folder: Path, say: Callable[[str], None] = print) -> None:
    """Ask today's checks of the saved arrays of a result folder, and draw its figure; the provenance says when and by
    which code ("judged") beside what computed the arrays.

    Raises:
        ExperimentError: as `redraw`.
    """
    _again(experiment, folder, say, judged=True)


def _again(experiment: Experiment, folder: Path, say: Callable[[str], None], *, judged: bool) -> None:
    result = results.load_result(folder)
    check_names(result.config, experiment.config_class)
    source = source_hash(experiment.file)
    if source != result.provenance["source"]:
        say(f"note: the code has changed since {shown(folder)} was computed; its arrays are taken as they are")
    record = {"redrawn": provenance.now()}
    with working_copy(folder, folder) as work, _arrays_that_are_there(folder, result.arrays):
        config = changed(experiment.config_class(), result.config)
        if judged:
            checks, smoke = checked(experiment, config, result.arrays), result.provenance["smoke"]
            results.write_summary(work / "summary.csv", result.arrays, checks, judged=not smoke)
            results.write_json(work / "verdict.json", _verdict(experiment, config, checks, smoke))
            record["judged"] = {
                "time": record["redrawn"],
                **provenance.commit(experiment.file.parent),
                "source": source,
            }
            record["code"] = result.provenance.get("code", {}) | {
                "checks": freshness.digests(experiment.file)["checks"]
            }
        style.save(_drawn(experiment, config, result.arrays), work)
        results.write_provenance(work, result.provenance | record, seal=True)
        publish(work, folder)


@contextlib.contextmanager
def _arrays_that_are_there(folder: Path, arrays: Mapping[str, np.ndarray]) -> Iterator[None]:
    """Within it, a name that checks or plot look up in the arrays in vain is a fault of the folder."""
    try:
        yield
    except KeyError as error:
        name = error.args[0] if error.args else None
        if not isinstance(name, str) or name in arrays:
            raise
        raise ExperimentError(
            f"{shown(folder)}: data.nc holds no array {name!r}, which checks() or plot() ask for, only "
            f"{', '.join(sorted(arrays))}. {MEND}"
        ) from error


def publish_result(folder: Path, target: Path, experiment: Experiment | None = None, swept: Any = None) -> None:
    """Copy a complete result folder to its place under results/, replacing the one there. With `experiment`, beside
    what lets `freshness` tell later whether it still is what the code would make.

    Raises:
        ExperimentError: data.nc is too large to be committed, or `target` is something else than a result folder.
    """
    size = (folder / "data.nc").stat().st_size
    if size > LARGEST_DATA:
        raise ExperimentError(
            f"data.nc is {size / 1e6:.1f} MB, and results/ takes less than {LARGEST_DATA / 1e6:.0f} MB: return smaller "
            f"reductions from run(). The result itself is kept in {shown(folder)}."
        )
    if target.exists() and any(target.iterdir()) and not (target / "provenance.json").exists():
        raise ExperimentError(f"{shown(target)} exists and is no result folder; move it away.")
    with working_copy(folder, target) as work:
        if experiment is not None:
            results.write_json(work / freshness.SAMPLE, freshness.sample_of(sample_arrays(experiment, swept)))
            record = results.read_provenance(work) | {"code": freshness.digests(experiment.file)}
            results.write_provenance(work, record, seal=True)
        publish(work, target)


def sample_arrays(experiment: Experiment, swept: Any = None) -> dict[str, np.ndarray]:
    """The arrays of an experiment at its own smoke size; nothing is written."""
    config = experiment.smoke
    if swept is not None:
        return swept(experiment, config, True, None)[0]
    return _on_host(_checked_run(experiment, config, True, lambda line: None)[0](jax.random.key(config.seed)))


def confirm(experiment: Experiment, folder: Path, swept: Any = None) -> list[str]:
    """Compute the smoke run of a committed result anew: where its arrays are the recorded ones, today's code of `run`
    is recorded as the result's own. Returns what differs; empty where nothing does.

    Raises:
        ExperimentError: the folder is damaged, holds no sample, or is of another Config than the file's.
    """
    record = results.verified(folder)
    if not (folder / freshness.SAMPLE).is_file():
        raise ExperimentError(f"{shown(folder)} holds no {freshness.SAMPLE} to compare with: sgdsde reproduce it.")
    if results.read_config(folder) != config_as_dict(normalised(experiment.config_class())):
        return ["the file's Config has other values than the result was computed with"]
    now = freshness.sample_of(sample_arrays(experiment, swept))
    differences = freshness.differences(results.read_json(folder / freshness.SAMPLE, freshness.SAMPLE_KIND), now)
    if not differences:
        code = record.get("code", {}) | {"run": freshness.digests(experiment.file)["run"]}
        record["confirmed"] = {"time": provenance.now(), **provenance.commit(experiment.file.parent)}
        with working_copy(folder, folder) as work:
            results.write_provenance(work, record | {"code": code}, seal=True)
            publish(work, folder)
    return differences


def _explained(experiment: Experiment, error: BaseException, why: str | None) -> BaseException:
    """The exception to raise in the place of one that a run ended with."""
    if isinstance(error, ExperimentError) or not isinstance(error, Exception):
        return error
    package = str(Path(__file__).parents[1])
    frames = traceback.extract_tb(error.__traceback__)
    is_ours = any(frame.filename.startswith(package) for frame in frames[-1:])
    is_too_large = isinstance(error, OverflowError | MemoryError) and why is not None and why.startswith(BEFORE)
    is_mistake = (isinstance(error, ValueError | TypeError) and is_ours) or is_too_large
    return RunError(f"{experiment.name} stopped in {why}", is_mistake=is_mistake)
