"""Points, groups and chunks: each item once, as few programs as there are static values."""

import threading
from pathlib import Path

import pytest

from sgdsde.experiment.config import changed, load_experiment
from sgdsde.experiment.folders import ExperimentError
from sgdsde.sweeps.axes import axes_of
from sgdsde.sweeps.estimate import estimated
from sgdsde.sweeps.plan import Sweep, chunks_of, groups_of, items_of, num_items
from sgdsde.sweeps.planning import Plan
from sgdsde.sweeps.program import Items, arguments_of


@pytest.fixture(scope="module")
def walk():
    return load_experiment(Path(__file__).with_name("walk.py"))


def sweep_of(walk, over, zipped=(), num_seeds=3, **options):
    config = changed(walk.config_class(), options.pop("config", {}))
    return Sweep(walk, config, axes_of(config, over, zipped), num_seeds, False, **options)


def test_floats_share_a_group_and_every_item_is_in_one(walk):
    sweep = sweep_of(walk, {"learning_rate": "0.1,0.2,0.3", "batch_size": "1:4:log2", "law": "sgd,sde"})
    groups = groups_of(sweep)
    assert [group.static for group in groups][:2] == [{"batch_size": 1, "law": "sgd"}, {"batch_size": 1, "law": "sde"}]
    assert len(groups) == 6
    items = [item for group in groups for item in items_of(sweep, group)]
    assert len(items) == len(set(items)) == 3 * 3 * 2 * 3 == sum(num_items(sweep, group) for group in groups)


def test_zipped_axes_are_cut_by_their_static_fields(walk):
    zipped = [{"learning_rate": "0.1,0.2,0.3", "batch_size": "1,2,1"}]
    groups = groups_of(sweep_of(walk, {"explodes": "0,1"}, zipped))
    assert [(group.static, group.where) for group in groups] == [
        ({"batch_size": 1}, ((0, 1), (0, 2))),
        ({"batch_size": 2}, ((0, 1), (1,))),
    ]


def test_tuples_of_other_lengths_are_other_programs(walk):
    groups = groups_of(sweep_of(walk, {"curvatures": "(1,2),(3,4),(1,2,3)"}))
    assert [group.where for group in groups] == [((0, 1),), ((2,),)]


def test_a_physical_time_sets_the_number_of_steps(walk):
    sweep = sweep_of(walk, {"learning_rate": "0.1,0.2"}, physical_time=8.0)
    assert [group.static for group in groups_of(sweep)] == [{"num_steps": 80}, {"num_steps": 40}]
    assert sweep.config_at((1,)).num_steps == 40
    with pytest.raises(ExperimentError, match="not one step"):
        groups_of(sweep_of(walk, {"learning_rate": "0.1,20"}, physical_time=8.0))
    with pytest.raises(ExperimentError, match="give one of them"):
        sweep_of(walk, {"num_steps": "10,20"}, physical_time=8.0)
    with pytest.raises(ExperimentError, match="above 0"):
        sweep_of(walk, {"learning_rate": "0.1,0.2"}, physical_time=-1.0)


@pytest.mark.parametrize("size", [1, 2, 4, 5, 100])
def test_chunks_cover_each_group_once(walk, size):
    sweep = sweep_of(walk, {"learning_rate": "0.1,0.2,0.3", "batch_size": "1,2"})
    groups = groups_of(sweep)
    chunks = chunks_of(sweep, groups, {0: size, 1: size})
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    for group in groups:
        covered = [i for chunk in chunks if chunk.group == group.number for i in range(chunk.start, chunk.stop)]
        assert covered == list(range(9))
    assert max(map(len, chunks)) <= size


def test_seeds_follow_the_base_seed(walk):
    sweep = sweep_of(walk, {"law": "sgd"}, config={"seed": 5}, num_seeds=3)
    assert [seed for _, seed in items_of(sweep, groups_of(sweep)[0])] == [5, 6, 7]
    with pytest.raises(ExperimentError, match="at least 1"):
        sweep_of(walk, {"law": "sgd"}, num_seeds=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_seeds": 10**20}, "go beyond the largest, 4,294,967,295"),
        ({"num_seeds": 2, "config": {"seed": 2**32 - 1}}, "2 seeds from 4294967295 on go beyond"),
        ({"num_seeds": 10**6}, "are more than 1,000,000 runs"),
    ],
)
def test_more_than_can_be_computed_is_refused_at_once(walk, options, message):
    with pytest.raises(ExperimentError, match=message):
        sweep_of(walk, {"learning_rate": "0.1,0.2"}, **options)


@pytest.mark.parametrize(
    "text", ["0:1:1000000000", "1e-300:1e300:log1.0000001", "1:2:" + "9" * 400, "1:2:1000000000:log"]
)
def test_an_axis_has_an_end(walk, text):
    with pytest.raises(ExperimentError, match="has more than 100,000 values"):
        axes_of(walk.config_class(), {"learning_rate": text})


def test_the_largest_seed_is_a_seed(walk):
    sweep = sweep_of(walk, {}, num_seeds=1, config={"seed": 2**32 - 1})
    group = groups_of(sweep)[0]
    *_, seeds = arguments_of(sweep, group, Items([()], list(sweep.seeds)))
    assert seeds.tolist() == [2**32 - 1]


def test_the_time_is_estimated_from_a_second_of_the_first_run(walk):
    """One compilation for each kind of simulation in each group; nothing goes on in the background."""
    config = {"num_steps": 2_000, "num_chains": 40}
    sweep = sweep_of(walk, {"batch_size": "1:4:log2"}, num_seeds=1000, config=config)
    groups = groups_of(sweep)
    plan, threads = Plan(groups, chunks_of(sweep, groups, dict.fromkeys(range(3), 1000)), 1.0), threading.active_count()
    found = estimated(sweep, plan)
    assert threading.active_count() == threads
    assert found is not None
    assert found.compiling > 0
    few = sweep_of(walk, {"batch_size": "1:4:log2"}, num_seeds=1, config=config)
    assert estimated(few, plan).computing < found.computing / 20
