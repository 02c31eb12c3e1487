"""A group as one program: as few compilations as groups, and each item the run that it would be alone."""

from pathlib import Path

import jax
import numpy as np
import pytest

from sgdsde import devices
from sgdsde.experiment.config import changed, load_experiment
from sgdsde.sweeps import program as module
from sgdsde.sweeps.axes import axes_of
from sgdsde.sweeps.footprints import footprint, items_at_once
from sgdsde.sweeps.plan import Sweep, groups_of, items_of
from sgdsde.sweeps.program import Items, Program, footprint_of


@pytest.fixture(scope="module")
def walk():
    return load_experiment(Path(__file__).with_name("walk.py"))


@pytest.fixture(autouse=True)
def ordinary_promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def all_items(sweep, group):
    return Items(*map(list, zip(*items_of(sweep, group))))


def at_once(function):
    return function()


def test_every_item_is_the_run_that_it_would_be_alone_with_one_compilation(walk):
    config = walk.config_class()
    over = {"learning_rate": "0.05,0.1", "curvatures": "(1,0.5),(2,1)"}
    sweep = Sweep(walk, config, axes_of(config, over), 3, False)
    (group,) = groups_of(sweep)
    items = all_items(sweep, group)
    before = devices._compiled.cache_info().misses
    program = Program(sweep, group, 4, at_once)
    arrays, failures = program(items)
    assert not failures
    assert program.num_compilations == 1
    assert devices._compiled.cache_info().misses == before + 1
    for i in (0, 5, 11):
        alone = walk.run(
            changed(sweep.config_at(items.places[i]), {"seed": items.seeds[i]}), jax.random.key(items.seeds[i])
        )
        assert alone.keys() == arrays.keys()
        for name, value in alone.items():
            np.testing.assert_allclose(arrays[name][i], value, rtol=1e-12, err_msg=name)


def test_the_size_of_a_call_changes_nothing(walk):
    config = walk.config_class()
    sweep = Sweep(walk, config, axes_of(config, {"learning_rate": "0.05,0.1"}), 3, False)
    (group,) = groups_of(sweep)
    items = all_items(sweep, group)
    few, many = (Program(sweep, group, size, at_once)(items)[0] for size in (1, 5))
    for name, value in few.items():
        np.testing.assert_allclose(many[name], value, rtol=1e-12, err_msg=name)


@pytest.mark.slow
def test_what_does_not_fit_is_halved_and_what_does_not_fit_alone_is_told(walk, monkeypatch):
    config = walk.config_class()
    sweep = Sweep(walk, config, axes_of(config, {"learning_rate": "0.05,0.1"}), 4, False)
    (group,) = groups_of(sweep)
    items = all_items(sweep, group)
    whole = Program(sweep, group, 2, at_once)(items)[0]
    sizes = []

    def fits(compiled, num_at_once, limit):
        sizes.append(program.size)
        if program.size > limit:
            raise MemoryError("3 GiB are needed")

    monkeypatch.setattr(module, "_check_memory", lambda *given: fits(*given, limit=2))
    program = Program(sweep, group, 8, at_once)
    arrays, failures = program(items)
    assert (sizes, failures) == ([8, 4, 2], {})
    np.testing.assert_allclose(arrays["total"], whole["total"], rtol=1e-12)
    monkeypatch.setattr(module, "_check_memory", lambda *given: fits(*given, limit=0))
    program = Program(sweep, group, 2, at_once)
    arrays, failures = program(items)
    assert arrays == {}
    assert failures == dict.fromkeys(range(8), "out of memory: 3 GiB are needed")


def test_memory_is_counted_from_the_trace():
    big, shared = jax.numpy.zeros((1000, 10)), jax.numpy.ones((500,))

    def run(x):  # at its peak two arrays of 1000 x 10 an item
        grown = x[:, None, None] * big
        return {"mean": (grown + 1).mean((1, 2)) + (shared * 2).sum()}

    bytes_shared, each = footprint(run, (jax.numpy.zeros(13),))
    assert each == pytest.approx(2 * 80_000, rel=0.01)
    assert bytes_shared >= 500 * 8


def test_items_fill_the_device_and_fit_into_its_memory(monkeypatch):
    from sgdsde.sweeps import footprints

    monkeypatch.setattr(footprints, "free_memory", lambda: 1000)
    assert items_at_once(100.0, 40.0, 1000) == 10, "half of what is free, less what is shared"
    assert items_at_once(0.0, 10_000.0, 1000) == 1
    monkeypatch.setattr(footprints, "free_memory", lambda: None)
    assert items_at_once(0.0, 1.0, 7) == 7
    assert items_at_once(0.0, 2.0**24, 1000) == len(jax.devices())


def test_the_footprint_of_a_group_grows_with_its_chains(walk):
    sizes = []
    for num_chains in (10, 1000):
        config = changed(walk.config_class(), {"num_chains": num_chains})
        sweep = Sweep(walk, config, axes_of(config, {"learning_rate": "0.05,0.1"}), 1, False)
        sizes.append(footprint_of(sweep, groups_of(sweep)[0])[1])
    assert 50 < sizes[1] / sizes[0] < 150
