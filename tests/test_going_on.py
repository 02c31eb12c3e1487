"""A run that goes on: with the same dynamics and other numbers, with another dynamics from the parameters alone; its
clock; and derivatives through it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sgdsde import noise
from sgdsde.dynamics.contract import State, derived_draw
from sgdsde.dynamics.exits import first_exit
from sgdsde.dynamics.langevin import euler_maruyama, tamed
from sgdsde.dynamics.matching import match
from sgdsde.dynamics.minibatch import optimizer, sgd
from sgdsde.ensemble import chain_keys
from sgdsde.problem import Problem
from sgdsde.pytrees import pytree
from sgdsde.simulation import simulate
from sgdsde.starting import description

SIZES = {"num_steps": 12, "num_chains": 4, "every": 6}


def tilted(x, z):
    return x @ (jnp.array([2.0, 0.5]) * x) / 2 + z @ x


def quartic(x, z):
    return jnp.sum(x**4) / 4 + z @ x


def zeros(key):
    return jnp.zeros(2)


def identity(x):
    return x


def is_near(x):
    return jnp.all(jnp.abs(x) < 3)


EXAMPLES = np.array([[1.0, 0.5], [-1.0, -0.5], [0.0, 1.0], [0.0, -1.0]])
PROBLEM = Problem(tilted, EXAMPLES, zeros)
ADAM = optax.adam(0.01)
SAMPLING = {"batch_size": 2, "sampling": "with_replacement"}


def plain(rate=0.1, problem=PROBLEM, **options):
    return sgd(problem, learning_rate=rate, **(SAMPLING | options))


def heavy_ball(rate=0.1):
    return plain(rate, momentum=0.5)


def sde(substeps=2, kind=noise.anisotropic, **options):
    return match(plain(), kind, substeps=substeps, **options)


def adam(transformation=ADAM):
    return optimizer(PROBLEM, transformation, **SAMPLING)


def run(dynamics, start, key, **changes):
    return simulate(dynamics, start, key, observe=identity, **(SIZES | changes))


@pytest.fixture(scope="module")
def ended():
    """Where runs of some dynamics ended."""
    key = jax.random.key(20)
    kinds = {"plain": plain(), "heavy_ball": heavy_ball(), "sde": sde(), "adam": adam()}
    return {name: run(dynamics, jnp.ones(2), key) for name, dynamics in kinds.items()}


@pytest.mark.parametrize(
    ("before", "now", "difference"),
    [
        ("sde", sde(1), "microsteps in a step: 2 there and 1 here"),
        ("sde", sde(4), "microsteps in a step: 2 there and 4 here"),
        ("plain", sde(1), "made by SGD, and this is EulerMaruyama"),
        ("sde", first_exit(sde(), is_near), "made by EulerMaruyama, and this is FirstExit of EulerMaruyama"),
        ("plain", heavy_ball(), "its memory has another form"),
        ("heavy_ball", plain(), "its memory has another form"),
        ("heavy_ball", adam(), "made by SGD, and this is Optimizer"),
        ("adam", adam(optax.nadam(0.01)), "its loss, noise, scheme or an option was"),
        ("adam", adam(optax.rmsprop(0.01)), "its memory has another form"),
        ("plain", plain(sampling="without_replacement"), "its loss, noise, scheme or an option was"),
        ("plain", plain(sampling="epoch"), "steps in an epoch: 1 there and 2 here"),
        ("plain", plain(problem=Problem(quartic, EXAMPLES, zeros)), "its loss, noise, scheme or an option was"),
        ("sde", sde(kind=noise.isotropic, at=np.zeros(2)), "its loss, noise, scheme or an option was"),
        ("sde", euler_maruyama(PROBLEM, noise.anisotropic(PROBLEM, **SAMPLING), learning_rate=0.1, substeps=2,
                               scheme=tamed), "its loss, noise, scheme or an option was"),
    ],
)  # fmt: skip
def test_another_dynamics_does_not_take_over_memory_and_counters(ended, key, before, now, difference):
    with pytest.raises(ValueError, match=f"^start: the trajectory is another dynamics' .*{difference}.*start=trajec"):
        run(now, ended[before], key)


def test_microsteps_beyond_the_counter(key):
    with pytest.raises(ValueError, match=r"num_steps: 1073741824 steps of 4 microsteps after 0 steps come to 2\*\*31"):
        run(sde(4), jnp.ones(2), key, num_steps=2**30, every=2**29)


def test_other_microsteps_would_have_drawn_the_same_numbers_again(key):
    """Why they are refused: two microsteps a step up to step 10 and one a step from there share ten counters."""
    one, two = sde(1), sde(2)
    again = derived_draw(one, key, jnp.int32(12), 0)
    np.testing.assert_array_equal(again, derived_draw(two, key, jnp.int32(6), 0))


@pytest.mark.parametrize("numbers", [plain(0.01), plain(0.01, batch_size=4), plain(optax.constant_schedule(0.01))])
def test_the_same_dynamics_goes_on_with_other_numbers(ended, key, numbers):
    """Its clock counts from where the first run ended: 1.2 and then .01 a step."""
    found = run(numbers, ended["plain"], key, every=3)
    np.testing.assert_allclose(found.time, 1.2 + 0.01 * np.array([3, 6, 9, 12]), rtol=1e-14)
    np.testing.assert_array_equal(found.step, [15, 18, 21, 24])
    keys = chain_keys(jax.random.split(key)[1], 4)
    state = State(ended["plain"].params[3])
    for step in range(12, 15):
        state = numbers.advance(state, numbers.draw(keys[3], jnp.int32(step), 0), jnp.int32(step))
    np.testing.assert_allclose(found.observed[0, 3], state.params, rtol=1e-12)


def test_a_constant_rate_keeps_one_clock(ended, key):
    """Bit for bit that of an undisturbed run, under a trace too."""
    whole = run(plain(), jnp.ones(2), key, num_steps=24, every=3)
    rest = run(plain(), ended["plain"], key, every=3)
    np.testing.assert_array_equal(whole.time[4:], rest.time)
    traced = jax.jit(lambda rate, start: run(plain(rate), start, key, every=3).time)
    np.testing.assert_allclose(traced(0.01, ended["plain"]), 1.2 + 0.01 * np.array([3, 6, 9, 12]), rtol=1e-14)


@pytree()
class Slowing:
    """SGD whose steps last 1/(1 + step): a dynamics of one's own, without a draw of its own."""

    inner: Any

    problem = property(lambda self: self.inner.problem)
    variates = property(lambda self: self.inner.variates)
    period, substeps = 1, 1

    def arrange(self, numbers):
        return self.inner.arrange(numbers)

    def init(self, params):
        return self.inner.init(params)

    def advance(self, state, draws, step):
        return self.inner.advance(state, draws, step)

    def duration(self, step):
        return 1 / (1 + step.astype(float))


def test_durations_of_ones_own_are_summed_step_by_step(key):
    found = run(Slowing(plain()), jnp.ones(2), key, every=3)
    np.testing.assert_allclose(found.time, np.cumsum(1 / np.arange(1.0, 13.0))[2::3], rtol=1e-14)
    np.testing.assert_array_equal(found.observed, run(plain(), jnp.ones(2), key, every=3).observed)


def test_an_ensemble_is_a_start(ended, key):
    """SGD with momentum and then its SDE: each chain from its own place, memory and counters from nothing."""
    places = ended["heavy_ball"].params
    found = run(heavy_ball(0.2), places, key)
    alone = run(heavy_ball(0.2), places[2], key)
    np.testing.assert_allclose(found.observed[:, 2], alone.observed[:, 2], rtol=1e-12)
    np.testing.assert_array_equal(found.step, [6, 12])
    np.testing.assert_array_equal(found.time, alone.time)
    stopped = run(first_exit(sde(), is_near), places, key)
    assert stopped.state.memory.microsteps.max() <= 24
    assert np.isfinite(run(sde(), ended["adam"].params, key).observed).all()


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (np.ones((5, 2)), "start: holds 5 chains, but num_chains is 4"),
        (
            np.ones((4, 2, 1)),
            r"start: expected float64\[2\] as problem.init gives, got float64\[4, 2, 1\].* num_chains = 4 in",
        ),
        (np.ones((4, 3)), r"got float64\[4, 3\]"),
        (np.ones((4, 2), np.float32), r"got float32\[4, 2\]"),
        (np.full((4, 2), np.nan), "from those chains alone that have not diverged"),
    ],
)
def test_what_is_no_ensemble(key, start, message):
    with pytest.raises((TypeError, ValueError), match=message):
        run(plain(), start, key)


def test_a_definition_run_again_is_the_same_dynamics():
    """As in a notebook: functions count by what they do, not by where they lie in memory."""
    programs = ["lambda x, z: (x * z).sum()"] * 2 + ["lambda x, z: (x + z).sum()"]
    losses = [eval(text) for text in programs]
    first, again, other = (description(plain(problem=Problem(loss, EXAMPLES, zeros))) for loss in losses)
    assert first == again
    assert first != other
    round_trip = jax.tree.unflatten(*reversed(jax.tree.flatten(sde())))
    assert (
        description(round_trip) == description(sde()) == description(match(plain(0.3), noise.anisotropic, substeps=2))
    )


def test_forward_derivatives_are_those_of_the_loop_by_hand(key):
    """d/d rate of every chain's end, along its own random numbers; reverse mode is refused with a sentence."""
    sizes = {"num_steps": 3, "every": 3}
    end = lambda rate: run(plain(rate), jnp.ones(2), key, **sizes).params
    keys = chain_keys(jax.random.split(key)[1], 4)

    def by_hand(rate, key):
        dynamics, state = plain(rate), State(jnp.ones(2))
        for step in range(3):
            state = dynamics.advance(state, dynamics.draw(key, step, 0), jnp.int32(step))
        return state.params

    expected = jax.jit(jax.vmap(jax.jacfwd(by_hand), (None, 0)))(0.1, keys)
    value, slope = jax.jvp(end, (0.1,), (1.0,))
    np.testing.assert_allclose(slope, expected, rtol=1e-12)
    np.testing.assert_allclose(value, end(0.1), rtol=1e-12)
    with pytest.raises(TypeError, match=r"^simulate: reverse-mode derivatives .*; differentiate forward with jax\.jvp"):
        jax.grad(lambda rate: end(rate).sum())(0.1)
