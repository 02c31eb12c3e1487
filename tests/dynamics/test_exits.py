"""First exits: an enumerated walk, NumPy loops and plain paths on the same random numbers, divergence, jit and vmap."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sgdsde
from sgdsde import noise
from sgdsde.dynamics.contract import Dynamics
from sgdsde.dynamics.exits import first_exit
from sgdsde.dynamics.langevin import euler_maruyama
from sgdsde.dynamics.minibatch import sgd
from sgdsde.ensemble import chain_keys
from sgdsde.problem import Problem
from sgdsde.simulation import simulate

NUM_CHAINS, NUM_STEPS = 8, 24
position = lambda params: params
within_one = lambda params: jnp.all(jnp.abs(params) < 1)
CLOSE = 0.2  # some kicks of the SDE below: nearly every chain leaves, at a microstep of its own


def walk(dtype=jnp.float64, curvature=0.0, examples=(1.0, -1.0)):
    """A loss whose SGD at rate 1 is the symmetric walk x' = x -+ 1 where curvature is 0."""
    z = jnp.asarray(examples, dtype)[:, None]
    loss = lambda x, z: jnp.sum(curvature * x**2 / 2 + z * x)
    return Problem(loss, z, lambda key: jnp.zeros(1, dtype))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_every_path_of_a_small_walk(dtype):
    """All 64 paths of six steps out of |x| < 2: stopped where a plain loop stops; 1/2, 1/4, 1/8 of them at 2, 4, 6."""
    dynamics = first_exit(
        sgd(walk(dtype), learning_rate=1.0, batch_size=1, sampling="with_replacement"),
        lambda x: jnp.all(jnp.abs(x) < 2),
    )
    assert isinstance(dynamics, Dynamics)
    paths = np.array(list(itertools.product((0, 1), repeat=6)))

    def run(path):
        state = dynamics.init(jnp.zeros(1, dtype))
        for example in path:
            state = dynamics.advance(state, example[None], 0)
        return state

    state = jax.tree.map(np.asarray, jax.jit(jax.vmap(run))(jnp.asarray(paths)))
    for path, end, count, left in zip(paths, state.params, state.memory.microsteps, state.memory.exited, strict=True):
        x, steps = 0.0, 0
        for example in path:
            if abs(x) < 2:
                x, steps = x - (1.0, -1.0)[example], steps + 1
        assert (end.item(), count, left) == (x, steps, abs(x) >= 2)
    assert state.params.dtype == dtype
    assert state.memory.microsteps.dtype == state.memory.exited.dtype == jnp.int32
    times = state.memory.microsteps[state.memory.exited == 1]
    assert [np.sum(times == k) for k in range(1, 7)] == [0, 32, 0, 16, 0, 8]


@pytest.mark.parametrize("options", [{"sampling": "with_replacement", "momentum": 0.5}, {"sampling": "epoch"}], ids=str)
def test_sgd_stops_where_its_own_path_first_leaves(options, key):
    problem = walk(curvature=0.5, examples=(1.0, -1.0, 2.0, -2.0, 0.5, -0.5))
    dynamics = sgd(problem, learning_rate=0.8, batch_size=2, **options)
    run = {"num_steps": NUM_STEPS, "num_chains": NUM_CHAINS, "observe": position}
    path = np.asarray(simulate(dynamics, jnp.zeros(1), key, **run, every=1).observed)[:, :, 0]
    stopped = simulate(first_exit(dynamics, within_one), jnp.zeros(1), key, **run, every=NUM_STEPS)
    outside = np.abs(path) >= 1
    left = outside.any(axis=0)
    first = np.where(left, outside.argmax(axis=0), NUM_STEPS - 1)
    assert left.any()
    np.testing.assert_array_equal(stopped.state.memory.exited, left)
    np.testing.assert_array_equal(stopped.state.memory.microsteps, first + 1)
    np.testing.assert_allclose(stopped.params[:, 0], path[first, np.arange(NUM_CHAINS)], rtol=1e-12)


@pytest.fixture(scope="module")
def langevin():
    """x' = x - dt x - kick, three microsteps a step."""
    problem = walk(curvature=1.0)
    return euler_maruyama(problem, noise.levy(problem, tail_index=1.5, scale=0.4), learning_rate=0.15, substeps=3)


def stopped_by_hand(dynamics, key):
    """(params, microsteps, exited) by a NumPy loop over the draws of every microstep."""
    keys = chain_keys(jax.random.split(key)[1], NUM_CHAINS)
    slots = jnp.arange(NUM_STEPS * 3)
    kick = lambda key, slot: dynamics.noise.apply(jnp.zeros(1), dynamics.draw(key, slot // 3, slot % 3))
    kicks = jax.jit(jax.vmap(jax.vmap(kick, (None, 0)), (0, None)))(keys, slots)
    x, counts = np.zeros(NUM_CHAINS), np.zeros(NUM_CHAINS, int)
    for kick in np.asarray(kicks)[:, :, 0].T:
        running = np.abs(x) < CLOSE
        x = np.where(running, x - 0.05 * x - 0.15 ** (1 / 3) * 0.05 ** (2 / 3) * kick, x)
        counts += running
    return x, counts, np.abs(x) >= CLOSE


def test_an_sde_stops_at_the_microstep_as_a_plain_loop_does(langevin, key):
    x, counts, left = stopped_by_hand(langevin, key)
    assert np.any(counts % 3)  # by chance one key in 3^8 has none within a step
    dynamics = first_exit(langevin, lambda params: jnp.all(jnp.abs(params) < CLOSE))
    half = {"num_steps": NUM_STEPS // 2, "every": NUM_STEPS // 2, "num_chains": NUM_CHAINS, "observe": position}
    end = simulate(dynamics, simulate(dynamics, jnp.zeros(1), key, **half), key, **half)
    np.testing.assert_allclose(end.params[:, 0], x, rtol=1e-11)
    np.testing.assert_array_equal(end.state.memory.microsteps, counts)
    np.testing.assert_array_equal(end.state.memory.exited, left)


def test_it_runs_under_jit_and_vmap(langevin, key):
    """Over two sizes of the region, held by a Partial: the larger one is left later on every path."""
    inside = lambda size, params: jnp.all(jnp.abs(params) < size)

    def counts(size):
        dynamics = first_exit(langevin, jax.tree_util.Partial(inside, size))
        run = {"num_steps": NUM_STEPS, "num_chains": NUM_CHAINS, "observe": position, "every": NUM_STEPS}
        return simulate(dynamics, jnp.zeros(1), key, **run).state.memory.microsteps

    small, large = jax.jit(jax.vmap(counts))(jnp.array([CLOSE, 4 * CLOSE]))
    np.testing.assert_array_equal(small, stopped_by_hand(langevin, key)[1])
    assert np.all(large >= small)
    assert np.any(large > small)


def test_what_diverges_has_not_left(key):
    """x' = x - x^3 from 3 overflows inside the whole line: no exit, NaN, and the count ends with that microstep."""
    z = jnp.array([[1.0], [-1.0]])
    problem = Problem(lambda x, z: jnp.sum(x**4 / 4), z, lambda key: jnp.zeros(1))
    dynamics = first_exit(
        sgd(problem, learning_rate=1.0, batch_size=1, sampling="with_replacement"),
        lambda x: jnp.all(jnp.abs(x) < 1e300),
    )
    run = {"num_steps": 12, "num_chains": 2, "observe": position, "every": 12}
    anywhere = first_exit(dynamics.dynamics, lambda x: jnp.all(x == x))
    end = simulate(anywhere, jnp.full(1, 3.0), key, **run)
    assert np.isnan(np.asarray(end.params)).all()
    np.testing.assert_array_equal(end.state.memory.exited, 0)
    np.testing.assert_array_equal(end.state.memory.microsteps, end.diverged_at)
    start = simulate(dynamics, jnp.full(1, 2e300), key, **run)
    np.testing.assert_array_equal(start.state.memory.microsteps, 0)
    np.testing.assert_array_equal(start.state.memory.exited, 1)
    np.testing.assert_array_equal(start.params, 2e300)


def test_what_is_refused(langevin):
    with pytest.raises(TypeError, match="inside: expected one truth value"):
        first_exit(langevin, lambda params: params < 1)
    plain = sgd(langevin.problem, learning_rate=0.1, batch_size=1, sampling="with_replacement")
    with pytest.raises(ValueError, match="match the sgd first"):
        sgdsde.match(first_exit(plain, within_one), noise.anisotropic, substeps=1)
