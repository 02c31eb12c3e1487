"""The loop: exact recursions, continuation bit for bit, divergence, counts of compilations, and what is refused."""

import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

from sgdsde import devices, noise, simulation
from sgdsde.dynamics.langevin import euler_maruyama
from sgdsde.dynamics.matching import match
from sgdsde.dynamics.minibatch import optimizer, sgd
from sgdsde.interruption import Interrupted
from sgdsde.problem import Problem
from sgdsde.simulation import simulate


def quadratic(hessian, x):
    return 0.5 * x @ hessian @ x


def tilted(hessian, x, z):
    return quadratic(hessian, x) + z @ x


def zeros(key):
    return jnp.zeros(2)


def zeros_in_single(key):
    return jnp.zeros(2, jnp.float32)


def make(dtype=jnp.float64, hessian=((2.0, 0.0), (0.0, 0.5))):
    hessian = jnp.asarray(np.array(hessian), dtype)
    z = jnp.array([[1.0, 0.5], [-1.0, -0.5], [0.0, 1.0], [0.0, -1.0]], dtype)
    init = zeros if dtype == jnp.float64 else zeros_in_single
    return Problem(Partial(tilted, hessian), z, init, mean_loss=Partial(quadratic, hessian))


def identity(x):
    return x


def is_positive(x):
    return x[0] > 0


@pytest.fixture(scope="module")
def problem():
    return make()


@pytest.fixture(scope="module")
def discrete(problem):
    return sgd(problem, learning_rate=0.1, batch_size=2, sampling="with_replacement", momentum=0.5)


SIZES = {"num_steps": 12, "num_chains": 4, "observe": identity, "every": 3}


def by_hand(dynamics, start, key, num_steps, chain):
    """The public contract, step by step: fold in the chain, draw, advance."""
    run_key = jax.random.fold_in(jax.random.split(key)[1], chain)
    state, seen, draws = dynamics.init(start), [], None
    for step in range(num_steps):
        if dynamics.period > 1:
            draws = dynamics.draw(run_key, step, 0) if step % dynamics.period == 0 else draws
            state = dynamics.advance(state, draws[step % dynamics.period], jnp.int32(step))
        else:
            for substep in range(dynamics.substeps):
                state = dynamics.advance(state, dynamics.draw(run_key, step, substep), jnp.int32(step))
        seen.append(state.params)
    return np.stack(seen)


@pytest.mark.parametrize("kind", ["momentum", "epoch", "substeps", "adam"])
def test_simulate_is_the_loop_written_by_hand(problem, discrete, key, kind):
    dynamics = {
        "momentum": discrete,
        "epoch": sgd(problem, learning_rate=0.1, batch_size=1, sampling="epoch"),
        "substeps": match(discrete, noise.anisotropic, substeps=3),
        "adam": optimizer(problem, optax.adam(0.1), batch_size=2, sampling="without_replacement"),
    }[kind]
    found = simulate(dynamics, jnp.array([1.0, -1.0]), key, **SIZES)
    expected = by_hand(dynamics, jnp.array([1.0, -1.0]), key, 12, chain=2)
    np.testing.assert_allclose(found.observed[:, 2], expected[2::3], rtol=1e-12)
    np.testing.assert_array_equal(found.step, [3, 6, 9, 12])
    if kind == "adam":
        assert np.isnan(found.time).all()
    else:
        np.testing.assert_allclose(found.time, (0.1 if kind == "epoch" else 0.2) * np.array([3, 6, 9, 12]))
    np.testing.assert_array_equal(found.diverged_at, [-1] * 4)


@pytest.mark.parametrize("sampling", ["with_replacement", "epoch"])
def test_going_on_from_a_trajectory_is_bit_equal(problem, key, sampling):
    """The cut at 6 lies inside an epoch of 4 steps."""
    dynamics = sgd(problem, learning_rate=optax.linear_schedule(0.2, 0.1, 12), batch_size=1, sampling=sampling,
                   momentum=0.5)  # fmt: skip
    whole = simulate(dynamics, jnp.ones(2), key, **SIZES)
    half = simulate(dynamics, jnp.ones(2), key, **{**SIZES, "num_steps": 6})
    rest = simulate(dynamics, half, key, **{**SIZES, "num_steps": 6})
    np.testing.assert_array_equal(whole.observed, np.concatenate([half.observed, rest.observed]))
    np.testing.assert_array_equal(whole.params, rest.params)
    np.testing.assert_array_equal(whole.time, np.concatenate([half.time, rest.time]))
    np.testing.assert_array_equal(whole.step, np.concatenate([half.step, rest.step]))


def test_draws_do_not_depend_on_chains_or_records(discrete, key):
    few = simulate(discrete, jnp.ones(2), key, **SIZES)
    many = simulate(discrete, jnp.ones(2), key, **{**SIZES, "num_chains": 9, "every": 1})
    np.testing.assert_allclose(many.observed[2::3, :4], few.observed, rtol=1e-13)


def test_under_a_trace_it_is_the_same_simulation(discrete, key):
    run = jax.jit(lambda key: simulate(discrete, jnp.ones(2), key, **SIZES))
    keys = jax.random.split(key, 3)
    together = jax.vmap(run)(keys)
    assert together.observed.shape == (3, 4, 4, 2)
    alone = simulate(discrete, jnp.ones(2), keys[1], **SIZES)
    np.testing.assert_allclose(together.observed[1], alone.observed, rtol=1e-12)
    np.testing.assert_allclose(together.time[1], alone.time, rtol=1e-6)


def test_averages_are_the_mean_and_its_standard_error(discrete, key):
    full = simulate(discrete, jnp.ones(2), key, **SIZES)
    mean, error = simulate(discrete, jnp.ones(2), key, average=True, **SIZES).observed
    np.testing.assert_allclose(mean, full.observed.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(error, np.std(full.observed, axis=1, ddof=1) / np.sqrt(4), rtol=1e-12)
    mean, _ = simulate(discrete, jnp.ones(2), key, average=True, **{**SIZES, "observe": is_positive}).observed
    assert mean.shape == (4,)


def test_a_start_for_each_chain(discrete, key):
    found = simulate(discrete, lambda k: jax.random.normal(k, (2,)), key, **SIZES)
    assert len(np.unique(found.observed[0, :, 0])) == 4


def quartic(x):
    return jnp.sum(x**4) / 4


def test_divergence_is_reported_and_kept(key):
    """x' = x - 0.5 x^3 explodes from 3 and not from 1/2: chain by chain, to the step, and averages become NaN."""
    z = jnp.array([[1e-3], [-1e-3]])
    problem = Problem(lambda x, z: quartic(x) + z @ x, z, lambda k: jnp.zeros(1), mean_loss=quartic)
    starts = jnp.array([[0.5], [3.0], [3.0], [0.5], [0.5], [3.0], [0.5], [0.5]])
    dynamics = sgd(problem, learning_rate=0.5, batch_size=1, sampling="with_replacement")
    found = simulate(dynamics, starts, key, num_steps=40, num_chains=8, observe=identity, every=1)
    bad = np.asarray(found.diverged_at) >= 0
    np.testing.assert_array_equal(bad, starts[:, 0] == 3)
    assert np.isnan(found.params[bad]).all()
    assert np.isfinite(found.params[~bad]).all()
    for chain in np.flatnonzero(bad):
        first = found.diverged_at[chain]
        assert np.isfinite(found.observed[first - 2, chain]).all()
        assert np.isnan(found.observed[first - 1 :, chain]).all()
    mean, error = simulate(
        dynamics, starts, key, num_steps=40, num_chains=8, observe=is_positive, every=40, average=True
    ).observed
    assert np.isnan(mean).all()
    assert np.isnan(error).all()
    again = simulate(dynamics, found, key, num_steps=1, num_chains=8, observe=identity, every=1)
    np.testing.assert_array_equal(again.diverged_at, found.diverged_at)


def test_a_second_rate_hessian_key_or_length_costs_no_compilation(key):
    """Counted by the cache of compiled loops."""

    def run(rate, hessian, key, num_steps):
        problem = make(hessian=hessian)
        dynamics = sgd(problem, learning_rate=rate, batch_size=1, sampling="with_replacement")
        sde = match(dynamics, noise.isotropic, substeps=2, at=jnp.zeros(2))
        for each in (dynamics, sde):
            simulate(each, jnp.ones(2), key, num_steps=num_steps, num_chains=3, observe=identity, every=num_steps)

    run(0.1, np.eye(2), key, 20)
    before = devices._compiled.cache_info().misses
    run(0.2, np.eye(2), key, 20)
    run(0.1, np.diag([2.0, 3.0]), key, 20)
    run(0.1, np.eye(2), jax.random.key(5), 40)
    assert devices._compiled.cache_info().misses == before


def test_ctrl_c_keeps_what_was_recorded(problem, key, monkeypatch):
    dynamics = sgd(problem, learning_rate=0.1, batch_size=2, sampling="with_replacement")
    sizes = {**SIZES, "num_steps": 3000}
    whole = simulate(dynamics, jnp.ones(2), key, **sizes)
    stretches, run_all = [], simulation.run_all

    def interrupted(calls):
        stretches.append(1)
        if len(stretches) == 4:
            signal.raise_signal(signal.SIGINT)
        return run_all(calls)

    monkeypatch.setattr(simulation, "run_all", interrupted)
    with pytest.raises(Interrupted) as caught:
        simulate(dynamics, jnp.ones(2), key, **sizes)
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert str(caught.value).endswith("interrupted; what was recorded so far is in the exception's `trajectory`")
    part = caught.value.trajectory
    done = len(part.step)
    assert 0 < done < 1000
    np.testing.assert_array_equal(part.observed, whole.observed[:done])
    rest = simulate(dynamics, part, key, **{**sizes, "num_steps": 3000 - 3 * done})
    np.testing.assert_array_equal(rest.observed, whole.observed[done:])


@pytest.mark.parametrize("implementation", ["rbg", "unsafe_rbg"])
def test_keys_of_other_implementations(discrete, implementation):
    key = jax.random.key(1, impl=implementation)
    few = simulate(discrete, jnp.ones(2), key, **SIZES)
    many = simulate(discrete, jnp.ones(2), key, **{**SIZES, "num_chains": 7})
    np.testing.assert_allclose(many.observed[:, :4], few.observed, rtol=1e-13)
    assert len(np.unique(many.params[:, 0])) > 3


def test_float32_runs_in_float32(key):
    problem = make(jnp.float32)
    dynamics = sgd(problem, learning_rate=np.float64(0.1), batch_size=2, sampling="with_replacement", momentum=0.9)
    found = simulate(dynamics, jnp.ones(2, jnp.float32), key, **SIZES)
    assert found.observed.dtype == jnp.float32
    plain = sgd(problem, learning_rate=np.float64(0.1), batch_size=2, sampling="with_replacement")
    sde = match(plain, noise.levy, substeps=2, at=jnp.zeros(2, jnp.float32), tail_index=1.5)
    assert simulate(sde, jnp.ones(2, jnp.float32), key, **SIZES).observed.dtype == jnp.float32
    rates = jax.vmap(
        lambda rate: (
            simulate(
                sgd(problem, learning_rate=rate, batch_size=2, sampling="with_replacement"),
                jnp.ones(2, jnp.float32),
                key,
                **SIZES,
            ).params
        )
    )(jnp.array([0.1, 0.2], jnp.float64))
    assert rates.dtype == jnp.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"every": 5}, "every: 5 does not divide num_steps = 12; try every = 4"),
        ({"num_steps": 0}, "num_steps: expected an integer >= 1"),
        ({"num_steps": 2**31, "every": 2**30}, r"num_steps: expected less than 2\*\*31, .* got 2147483648"),
        ({"num_chains": -1}, "num_chains: expected an integer >= 1"),
        ({"start": jnp.array([jnp.nan, 0.0])}, "start: contains NaN or inf"),
        ({"start": jnp.zeros(3)}, r"start: expected float64\[2\] as problem.init gives, got float64\[3\]"),
        ({"start": jnp.zeros(2, jnp.float32)}, r"expected float64\[2\].*got float32\[2\]"),
        ({"start": {"x": jnp.zeros(2)}}, "start: expected params with the structure"),
        ({"start": lambda k: jnp.zeros(5)}, r"start: expected float64\[2\]"),
    ],
)
def test_wrong_arguments_are_refused_before_compiling(discrete, key, changes, message):
    before = devices._compiled.cache_info().misses
    arguments = {"start": jnp.ones(2), **SIZES, **changes}
    start = arguments.pop("start")
    with pytest.raises((ValueError, TypeError), match=message):
        simulate(discrete, start, key, **arguments)
    assert devices._compiled.cache_info().misses == before


def test_a_float64_array_where_float32_runs_is_named(key):
    problem = make(jnp.float32)
    mixed = Problem(lambda x, z: jnp.sum(z.astype(x.dtype) * x), np.asarray(problem.examples, np.float64), problem.init)
    dynamics = sgd(mixed, learning_rate=0.1, batch_size=2, sampling="with_replacement")
    with pytest.raises(TypeError, match=r"problem.examples is float64, but the parameters are float32"):
        simulate(dynamics, jnp.zeros(2, jnp.float32), key, **SIZES)


def test_examples_of_lower_precision_are_promoted(key):
    """As JAX's users expect; the parameters keep theirs."""
    with jax.numpy_dtype_promotion("standard"):
        mixed = Problem(lambda x, z: jnp.sum(z * x), np.ones((4, 2), np.float16), lambda key: jnp.zeros(2, jnp.float32))
        dynamics = sgd(mixed, learning_rate=0.1, batch_size=2, sampling="with_replacement")
        trajectory = simulate(dynamics, jnp.zeros(2, jnp.float32), key, **SIZES)
    assert trajectory.params.dtype == jnp.float32
    np.testing.assert_allclose(trajectory.params, -0.1 * SIZES["num_steps"], rtol=1e-5)


def test_going_on_needs_the_same_number_of_chains(discrete, key):
    part = simulate(discrete, jnp.ones(2), key, **SIZES)
    with pytest.raises(ValueError, match="num_chains: 5, but the trajectory to go on from has 4"):
        simulate(discrete, part, key, **{**SIZES, "num_chains": 5})


def test_a_stable_sde_runs(problem, key):
    law = noise.anisotropic_levy(problem, tail_index=1.5, batch_size=2, sampling="with_replacement")
    found = simulate(euler_maruyama(problem, law, learning_rate=0.1), jnp.ones(2), key, **SIZES)
    assert np.isfinite(found.params).all()


def test_what_a_stretch_recorded_is_fetched_once(discrete, key, monkeypatch):
    """Not once a record: every record would hold the memory of all."""
    fetched, stretches, together, run_all = [], [], simulation.together, simulation.run_all
    monkeypatch.setattr(simulation, "together", lambda *given: fetched.append(1) or together(*given))
    monkeypatch.setattr(simulation, "run_all", lambda calls: stretches.append(1) or run_all(calls))
    found = simulate(discrete, jnp.ones(2), key, **{**SIZES, "num_steps": 300})
    assert len(found.step) == 100
    assert len(fetched) == len(stretches)
