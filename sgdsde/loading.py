"""Results read back: a result folder or a sweep's, as one labelled dataset."""

import json
from pathlib import Path

import xarray

from sgdsde.experiment import results
from sgdsde.experiment.files import recover
from sgdsde.experiment.folders import ExperimentError
from sgdsde.sweeps.folder import load_sweep

__all__ = ["load"]


def load(path: str | Path) -> xarray.Dataset:
    """The arrays of a result folder or of a finished sweep, with config and provenance, every byte verified.

    A sweep has a dimension for each axis, then `seed`, then the arrays' own; `failed` is 1 where a run could not be
    computed (its numbers are NaN), and `check_measured`, `check_predicted`, `check_standard_error`, `check_tolerance`,
    `check_expect` (0 "agree", 1 "differ", 2 "below", 3 "above") and `check_passed` tell what the experiment's checks
    said of each run; the last two are -1 where nothing was judged. `json.loads(dataset.attrs["config"])` is the
    Config, likewise `"provenance"` (commit, versions, device, time).

    Raises:
        ExperimentError: no result, not finished, damaged (the file is named), or of another schema.
    """
    if not isinstance(path, str | Path):
        raise TypeError(f"path: expected a result folder, got {path!r}")
    folder = Path(path)
    recover(folder)
    if not folder.is_dir():
        raise ExperimentError(f"{path}: there is no such folder.")
    if (folder / "sweep.json").exists():
        return load_sweep(folder)
    dataset, record = results.load_arrays(folder)
    return dataset.assign_attrs(config=json.dumps(results.read_config(folder)), provenance=json.dumps(record))
