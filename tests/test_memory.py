"""Memory is estimated before a run, and what does not fit is refused with advice."""

import jax
import jax.numpy as jnp
import pytest

from sgdsde import memory, simulation
from sgdsde.dynamics.minibatch import sgd
from sgdsde.problem import Problem
from sgdsde.simulation import simulate


def neuron(params, example):
    return jnp.sum(jnp.tanh(jnp.outer(params, example))) ** 2


def start(key):
    return jnp.ones(64)


def squares(params):
    return params @ params


def params_themselves(params):
    return params


@pytest.fixture(scope="module")
def problem():
    return Problem(neuron, jnp.ones((512, 8)), start)


def run(dynamics, num_chains=4):
    sizes = {"num_steps": 2, "num_chains": num_chains, "every": 2}
    return simulate(dynamics, start, jax.random.key(0), observe=squares, **sizes)


def test_what_does_not_fit_is_refused_before_the_first_step(problem, monkeypatch):
    dynamics = sgd(problem, learning_rate=1e-6, batch_size=512, sampling="with_replacement")
    run(dynamics)
    monkeypatch.setattr(memory, "free_memory", lambda: 400_000)
    monkeypatch.setattr(simulation, "run_all", None)
    with pytest.raises(MemoryError, match=r"4 chains of 64 parameters need .* GiB .*, but 0\.000373 GiB are free; "):
        run(dynamics)


def test_records_are_counted(problem, monkeypatch):
    """Beside the program, twice: they are put together from their parts."""
    dynamics = sgd(problem, learning_rate=1e-6, batch_size=512, sampling="with_replacement")
    sizes = {"num_steps": 40, "num_chains": 4, "every": 1}
    keep_params = lambda: simulate(dynamics, start, jax.random.key(0), observe=params_themselves, **sizes)
    asked = []
    monkeypatch.setattr(simulation, "check_memory", lambda *given, kept: asked.append((given, kept)))
    keep_params()
    ((compiled, num_at_once, *_), kept) = given, _ = asked[0]
    assert kept == 40 * 4 * 64 * 8
    monkeypatch.setattr(memory, "free_memory", lambda: 0)
    program = memory.shortage(compiled, num_at_once)[1]
    monkeypatch.setattr(memory, "free_memory", lambda: program + 2 * kept)
    memory.check_memory(*given, kept=kept)
    monkeypatch.setattr(memory, "free_memory", lambda: program + 2 * kept - 1)
    with pytest.raises(MemoryError, match=r"4 chains of 64 parameters need"):
        memory.check_memory(*given, kept=kept)
    monkeypatch.setattr(memory, "WORTH_A_LOOK", 0)
    monkeypatch.setattr(memory, "free_memory_of_host", lambda: 2 * kept)
    with pytest.raises(
        MemoryError, match=r"40 records of 4 chains, .* keep at most 31 records, by a larger `every`; or"
    ):
        keep_params()


def test_the_advice_is_a_microbatch_or_fewer_chains(problem, monkeypatch):
    dynamics = sgd(problem, learning_rate=1e-6, batch_size=512, sampling="with_replacement")

    class Compiled:
        def memory_analysis(self):
            return self

        temp_size_in_bytes, output_size_in_bytes, alias_size_in_bytes = 1_000_000, 30_000, 20_000

    monkeypatch.setattr(memory, "free_memory", lambda: 520_000)
    with pytest.raises(MemoryError, match=r"take the examples in microbatches: .*microbatch=64\)"):
        memory.check_memory(Compiled(), 2, dynamics, 4)
    monkeypatch.setattr(memory, "free_memory", lambda: 15_000)
    with pytest.raises(MemoryError, match="run about 11 chains at once"):
        memory.check_memory(Compiled(), 2, dynamics, 2000)
    monkeypatch.setattr(memory, "free_memory", lambda: None)
    memory.check_memory(Compiled(), 2, dynamics, 4)


def test_free_memory_of_this_machine():
    free = memory.free_memory()
    assert free is None or 2**20 < free < 2**50
