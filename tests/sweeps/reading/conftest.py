"""Data sets of sweeps that nothing computed, with numbers that are known."""

import json
from typing import get_args

import numpy as np
import pytest
import xarray

from sgdsde.experiment.check import Expectation

EXPECTATIONS = get_args(Expectation)


def _dataset(axes, arrays, *, num_seeds=2, checks=None, failed=None, coords=None, dimensions=None, **attrs):
    """A sweep's data set from plain arrays of shape (axes..., seed, own...).

    axes: one dictionary an axis, field: values. checks: {name: (measured, predicted, standard_error, passed)}, or with
    a tolerance and an expectation behind these; else 0.1 and "agree".
    """
    places = [*(next(iter(fields)) for fields in axes), "seed"]
    shape = (*(len(next(iter(fields.values()))) for fields in axes), num_seeds)
    variables = {"failed": (places, np.zeros(shape, np.int8) if failed is None else np.asarray(failed, np.int8))}
    for name, array in arrays.items():
        array = np.asarray(array)
        own = (dimensions or {}).get(name, [f"{name}_{i}" for i in range(array.ndim - len(shape))])
        variables[name] = ([*places, *own], array)
    coordinates = {field: (place, values) for place, fields in zip(places, axes) for field, values in fields.items()}
    coordinates |= {"seed": np.arange(num_seeds)} | (coords or {})
    if checks:
        coordinates["check"] = list(checks)
        full = [(*check, 0.1, "agree") if len(check) == 4 else check for check in checks.values()]
        for i, name in enumerate(("measured", "predicted", "standard_error", "passed", "tolerance", "expect")):
            entries = np.stack([np.broadcast_to(check[i], shape) for check in full], axis=-1)
            if name == "expect":
                codes = np.vectorize(EXPECTATIONS.index, otypes=[int])(entries)
                entries = np.where(variables["check_passed"][1] < 0, -1, codes)
            is_code = name in ("passed", "expect")
            variables[f"check_{name}"] = ([*places, "check"], entries.astype(np.int8 if is_code else float))
    texts = {
        "experiment": "toy",
        "title": "A toy",
        "axes": json.dumps([list(fields) for fields in axes]),
        "config": json.dumps({"learning_rate": 0.1, "num_steps": 100, "seed": 0}),
        "failures": "[]",
        "provenance": "{}",
    }
    return xarray.Dataset(variables, coordinates, texts | attrs)


@pytest.fixture
def dataset_of():
    """The function that builds such a data set."""
    return _dataset
