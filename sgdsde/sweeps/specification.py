"""A sweep from what a person wrote: the command line, a TOML file, or the SWEEP of an experiment file."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sgdsde.experiment.config import Experiment, changed
from sgdsde.experiment.folders import ExperimentError, nearest, shown
from sgdsde.experiment.validation import NAME, NUMBER, TABLE, WHOLE, Optional, parsed_text, taken
from sgdsde.sweeps.axes import Axis, axes_of, parsed_assignments
from sgdsde.sweeps.plan import Sweep

KINDS = {
    "experiment": NAME, "config": Optional(TABLE), "over": Optional(TABLE), "zip": Optional([TABLE]),
    "seeds": Optional(WHOLE), "physical_time": Optional(NUMBER),
}  # fmt: skip


def read_toml(file: Path) -> dict[str, Any]:
    """What a sweep file says.

        experiment = "double_well_gibbs"      # a name, never a path: a sweep file says no code to run
        seeds = 16
        physical_time = 50.0                  # optional: num_steps follows from each learning_rate
        [config]                              # optional: fields that stay as they are
        barrier = 0.2
        [over]                                # each an axis
        batch_size = "1:64:log2"
        [[zip]]                               # each an axis of fields that advance together
        learning_rate = [0.1, 0.2]
        tail_index = [1.5, 1.8]

    Raises:
        ExperimentError: not TOML, an unknown key, or a value of the wrong kind.
    """
    found = parsed_text(file, tomllib.loads, "TOML")
    for key in found:
        if key not in KINDS:
            raise ExperimentError(f"{shown(file)}: there is no key `{key}`. {nearest(key, KINDS)}")
    if "experiment" not in found:
        raise ExperimentError(f'{shown(file)}: name the experiment, experiment = "double_well_gibbs".')
    return taken(found, KINDS, file, "See docs/sweeps.md.")


def base_config(experiment: Experiment, found: Mapping[str, Any], *, smoke: bool) -> Any:
    """The Config that a sweep starts from, with the fields of the file's [config]."""
    return changed(experiment.smoke if smoke else experiment.config_class(), found.get("config", {}))


def sweep_of(
    experiment: Experiment,
    config: Any,
    *,
    found: Mapping[str, Any],
    over: Sequence[str],
    zipped: Sequence[Sequence[str]],
    num_seeds: int | None,
    physical_time: float | None,
    smoke: bool,
    asks_checks: bool,
) -> Sweep:
    """The sweep asked for: axes of the file (`found`) and of the command line together; where neither names one, those
    of the experiment's SWEEP.

    Raises:
        ExperimentError: nothing to sweep, a wrong field or value.
    """
    on_line = [parsed_assignments(over), [parsed_assignments(tokens) for tokens in zipped]]
    for name in on_line[0].keys() & found.get("over", {}).keys():
        raise ExperimentError(f"{name} is swept by the file and by --over; give it once.")
    products = found.get("over", {}) | on_line[0]
    together = [*found.get("zip", []), *on_line[1]]
    seeds = num_seeds if num_seeds is not None else found.get("seeds")
    time = physical_time if physical_time is not None else found.get("physical_time")
    if products or together:
        axes = axes_of(config, products, together)
    elif experiment.sweep is not None:
        axes, own_seeds = axes_of_file(experiment, config, smoke=smoke)
        seeds = own_seeds if seeds is None else seeds
    elif seeds is not None and seeds > 1:
        axes = ()
    else:
        raise ExperimentError("Nothing to sweep: name an axis, such as --over learning_rate=0.01,0.02, or --seeds 16.")
    has_own = experiment.sweep is None
    return Sweep(experiment, config, axes, 1 if seeds is None else seeds, smoke, time, asks_checks and has_own)


def axes_of_file(experiment: Experiment, config: Any, *, smoke: bool) -> tuple[tuple[Axis, ...], int]:
    """The axes and the number of seeds of an experiment's SWEEP; at smoke size the first and the last value of each
    axis and two seeds."""
    sweep = experiment.sweep or {}
    axes, num_seeds = axes_of(config, sweep.get("over", {}), sweep.get("zip", ())), sweep.get("seeds", 1)
    if smoke:
        axes = tuple(Axis({name: _ends(values) for name, values in axis.values.items()}) for axis in axes)
        num_seeds = min(num_seeds, 2)
    return axes, num_seeds


def _ends(values: tuple) -> tuple:
    return values if len(values) < 2 else (values[0], values[-1])


def sweep_again(experiment: Experiment, described: Mapping[str, Any]) -> Sweep:
    """The sweep that a `sweep.json` describes.

    Raises:
        ExperimentError: its fields no longer fit the experiment file.
    """
    config = changed(experiment.config_class(), described["config"])
    axes = tuple(axis for fields in described["axes"] for axis in axes_of(config, {}, [fields]))
    options = {key: described[key] for key in ("physical_time", "asks_checks")}
    return Sweep(experiment, config, axes, described["num_seeds"], described["smoke"], **options)
