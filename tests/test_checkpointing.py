"""Checkpoints: a run that was ended and called again agrees with an undisturbed one in every bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

from sgdsde import checkpointing, noise, simulation
from sgdsde.checkpointing import checkpoints
from sgdsde.dynamics.matching import match
from sgdsde.dynamics.minibatch import optimizer, sgd
from sgdsde.interruption import Interrupted
from sgdsde.problem import Problem, loss
from sgdsde.simulation import simulate

SIZES = {"num_steps": 600, "num_chains": 3, "every": 30}


def example_loss(params, example):
    return (params["slope"] @ example - params["shift"]) ** 2 / 2


def start(key):
    return {"slope": jax.random.normal(key, (2,)), "shift": jnp.ones(())}


@pytest.fixture(scope="module")
def problem():
    return Problem(example_loss, jnp.arange(12.0).reshape(6, 2) / 10, start)


@pytest.fixture(params=["momentum", "epoch", "adam", "levy"])
def dynamics(request, problem):
    sampling = {"batch_size": 2, "sampling": "epoch" if request.param == "epoch" else "with_replacement"}
    if request.param == "adam":
        return optimizer(problem, optax.adam(0.01), **sampling)
    discrete = sgd(problem, learning_rate=0.05, momentum=0.9 if request.param == "momentum" else 0.0, **sampling)
    if request.param == "levy":
        return match(discrete, noise.anisotropic_levy, substeps=2, tail_index=1.8)
    return discrete


def stop_after(monkeypatch, count):
    """The signal arrives within stretch number `count`."""
    stretches, run_all = [], simulation.run_all

    def interrupted(calls):
        stretches.append(1)
        if len(stretches) == count:
            signal.raise_signal(signal.SIGINT)
        return run_all(calls)

    monkeypatch.setattr(simulation, "run_all", interrupted)


def run(dynamics, key=0, **changes):
    return simulate(
        dynamics, start, jax.random.key(key), observe=Partial(loss, dynamics.problem), **{**SIZES, **changes}
    )


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("every", "average"),
    [(30, False), (200, True), pytest.param(30, True, marks=SLOW), pytest.param(200, False, marks=SLOW)],
)
def test_an_interrupted_run_goes_on_bit_for_bit(dynamics, tmp_path, monkeypatch, every, average):
    """Also where the signal comes between two records (every = 200 is more than a first stretch)."""
    sizes = {"every": every, "average": average}
    whole = run(dynamics, **sizes)
    stop_after(monkeypatch, 2)
    with pytest.raises(Interrupted, match="go on from there") as caught, checkpoints(tmp_path):
        run(dynamics, **sizes)
    assert repr(str(tmp_path)) in str(caught.value)
    monkeypatch.undo()
    assert len(list(tmp_path.glob("001-*"))) == 1
    steps, run_all = [], simulation.run_all
    monkeypatch.setattr(simulation, "run_all", lambda calls: steps.append(calls[0][1][4]) or run_all(calls))
    with checkpoints(tmp_path):
        again = run(dynamics, **sizes)
    assert int(steps[0]) > 0
    jax.tree.map(np.testing.assert_array_equal, again, whole)


@pytest.mark.slow
def test_a_finished_run_is_not_computed_again_and_another_one_is(problem, tmp_path, monkeypatch):
    dynamics = sgd(problem, learning_rate=0.05, batch_size=2, sampling="with_replacement")
    with checkpoints(tmp_path, seconds=0):
        first, second = run(dynamics), run(dynamics, key=1)
    calls, run_all = [], simulation.run_all
    monkeypatch.setattr(simulation, "run_all", lambda given: calls.append(1) or run_all(given))
    with checkpoints(tmp_path, seconds=0):
        jax.tree.map(np.testing.assert_array_equal, (run(dynamics), run(dynamics, key=1)), (first, second))
    assert not calls
    changed = [
        (sgd(problem, learning_rate=0.06, batch_size=2, sampling="with_replacement"), {}),
        (sgd(problem, learning_rate=0.05, batch_size=3, sampling="with_replacement"), {}),
        (dynamics, {"key": 1}),
        (dynamics, {"num_steps": 660}),
        (dynamics, {"every": 60}),
        (dynamics, {"num_chains": 4}),
        (dynamics, {"average": True}),
    ]
    for count, (other, changes) in enumerate(changed):
        with checkpoints(tmp_path, seconds=0):
            run(other, **changes)
        assert len(calls) > count, changes
        calls[:] = [1] * len(calls)


def test_another_loss_of_the_same_name_is_another_run(tmp_path, monkeypatch):
    calls, run_all = [], simulation.run_all
    monkeypatch.setattr(simulation, "run_all", lambda given: calls.append(1) or run_all(given))
    for power in (2, 4):

        def example_loss(params, example, power=power):
            return jnp.sum((params - example) ** power)

        problem = Problem(example_loss, jnp.ones((4, 1)), lambda key: jnp.zeros(1))
        dynamics = sgd(problem, learning_rate=0.05, batch_size=2, sampling="with_replacement")
        before = len(calls)
        with checkpoints(tmp_path, seconds=0):
            simulate(dynamics, jnp.zeros(1), jax.random.key(0), observe=Partial(loss, problem), **SIZES)
        assert len(calls) > before


def test_a_damaged_checkpoint_is_passed_over(problem, tmp_path):
    dynamics = sgd(problem, learning_rate=0.05, batch_size=2, sampling="with_replacement")
    with checkpoints(tmp_path, seconds=0):
        whole = run(dynamics)
    kept = sorted((path for path in tmp_path.glob("001-*/*") if path.is_dir()), key=lambda path: int(path.name))
    assert [path.name for path in kept][-1] == "600"
    assert len(kept) == 2
    for folder in kept:
        largest = max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
        numbers = bytearray(largest.read_bytes())
        numbers[len(numbers) // 2] ^= 4
        largest.write_bytes(bytes(numbers))
    with checkpoints(tmp_path, seconds=0), pytest.warns(UserWarning, match="cannot be read and is passed over"):
        again = run(dynamics)
    jax.tree.map(np.testing.assert_array_equal, again, whole)


def test_what_cannot_be_written_does_not_end_the_run(problem, tmp_path, monkeypatch):
    """The disk is full from the second checkpoint on, after half of it: one warning, the first is kept, and the run's
    result is the undisturbed one's."""
    dynamics = sgd(problem, learning_rate=0.05, batch_size=2, sampling="with_replacement")
    whole, write, count = run(dynamics), checkpointing.Checkpoint._write, []

    def filled_up(checkpoint, done, chains, records):
        count.append(done)
        if len(count) == 1:
            return write(checkpoint, done, chains, records)
        (checkpoint.path / f"{done}.orbax-checkpoint-tmp").mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpointing.Checkpoint, "_write", filled_up)
    with checkpoints(tmp_path, seconds=0), pytest.warns(UserWarning, match="cannot be written") as said:
        again = run(dynamics)
    jax.tree.map(np.testing.assert_array_equal, again, whole)
    (warning,) = said
    assert f"{count[1]} cannot be written ([Errno 28] No space left on device); the simulation goes on, and the last " \
        f"good one, of step {count[0]}, is kept" in str(warning.message)  # fmt: skip
    assert [path.name for path in tmp_path.glob("001-*/*")] == [str(count[0])]


def test_wrong_numbers_are_found_by_their_checksum():
    saved = {"chains": [np.arange(3.0)], "digest": checkpointing._digest([np.arange(3.0)])}
    assert list(checkpointing._verified(dict(saved))) == ["chains"]
    with pytest.raises(ValueError, match="checksum"):
        checkpointing._verified({**saved, "chains": [np.arange(3.0) + 1e-9]})


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match="seconds: expected a time >= 0"), checkpoints(tmp_path, seconds=-1):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file is a file; name a folder"), checkpoints(tmp_path / "file"):
        pass


PROGRAM = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jax.tree_util import Partial
from sgdsde import Problem, checkpoints, loss, sgd, simulate
problem = Problem(lambda x, z: jnp.sum((x - z) ** 2) / 2, jnp.arange(8.0)[:, None], lambda key: jnp.zeros(1))
dynamics = sgd(problem, learning_rate=0.01, batch_size=2, sampling="with_replacement")
with checkpoints(sys.argv[1], seconds=0.05):
    found = simulate(dynamics, problem.init, jax.random.key(0), num_steps=8_000_000, num_chains=64,
                     observe=Partial(loss, problem), every=100_000)
np.save(sys.argv[2], np.asarray(found.observed))
"""


@pytest.mark.slow
def test_killed_at_any_time_a_run_goes_on(tmp_path):
    """kill -9, again and again, until a call gets through; against a run that nobody disturbed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    call = lambda folder, file: [sys.executable, "-c", PROGRAM, str(tmp_path / folder), str(tmp_path / file)]
    subprocess.run(call("quiet", "whole.npy"), check=True, env=environment)
    kills = 0
    for attempt in range(60):
        process = subprocess.Popen(call("killed", "again.npy"), env=environment)
        try:
            process.wait(timeout=4.5 + 0.13 * attempt)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            time.sleep(0.1)
    assert kills > 0
    np.testing.assert_array_equal(np.load(tmp_path / "again.npy"), np.load(tmp_path / "whole.npy"))
