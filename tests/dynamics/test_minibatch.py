"""Discrete SGD: one step equals its formula and optax's, momentum, clipping, schedules, epochs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sgdsde import match, noise, simulate
from sgdsde.dynamics.contract import Dynamics, check_schedule
from sgdsde.dynamics.minibatch import minibatch_gradient, optimizer, sgd
from sgdsde.ensemble import chain_keys, with_own_keys
from sgdsde.problem import Problem

OPTIONS = {"batch_size": 2, "sampling": "with_replacement"}


def squared_error(params, example):
    return 0.5 * (example["y"] - params["w"] @ example["x"] - params["b"]) ** 2


@pytest.fixture(scope="module", params=[jnp.float32, jnp.float64])
def problem(request):
    rng = np.random.default_rng(0)
    examples = {
        "x": jnp.asarray(rng.normal(size=(7, 3)), request.param),
        "y": jnp.asarray(rng.normal(size=7), request.param),
    }
    init = lambda key: {"w": jnp.zeros(3, request.param), "b": jnp.zeros((), request.param)}
    return Problem(squared_error, examples, init, penalty=lambda p: 0.05 * p["w"] @ p["w"])


def run(dynamics, key, num_steps):
    state = dynamics.init(dynamics.problem.init(key))
    draws = None
    for step in range(num_steps):
        if dynamics.period == 1:
            draws = now = dynamics.draw(key, step, 0)
        else:
            draws = dynamics.draw(key, step, 0) if step % dynamics.period == 0 else draws
            now = draws[step % dynamics.period]
        state = dynamics.advance(state, now, jnp.int32(step))
    return state.params


def test_sgd_equals_its_formula(problem, key):
    dynamics = sgd(problem, learning_rate=0.1, batch_size=2, sampling="with_replacement")
    assert isinstance(dynamics, Dynamics)
    params = {"w": jnp.ones(3, problem.examples["x"].dtype), "b": jnp.ones((), problem.examples["x"].dtype)}
    after = dynamics.advance(dynamics.init(params), jnp.array([4, 4]), 0).params
    x, y = np.asarray(problem.examples["x"])[4], np.asarray(problem.examples["y"])[4]
    residual = y - x.sum() - 1
    np.testing.assert_allclose(after["w"], 1 - 0.1 * (-residual * x + 0.1), rtol=1e-5)
    np.testing.assert_allclose(after["b"], 1 + 0.1 * residual, rtol=1e-5)


@pytest.mark.parametrize("sampling", ["with_replacement", "without_replacement", "epoch"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_optax_sgd_on_the_same_minibatches(problem, key, sampling, momentum):
    """To rounding, in float32 and float64."""
    ours = sgd(problem, learning_rate=0.05, batch_size=3, sampling=sampling, momentum=momentum)
    theirs = optimizer(problem, optax.sgd(0.05, momentum or None), batch_size=3, sampling=sampling)
    a, b = run(ours, key, 6), run(theirs, key, 6)
    dtype = problem.examples["y"].dtype
    assert a["w"].dtype == b["w"].dtype == dtype
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-5 if dtype == jnp.float32 else 1e-13)


def test_a_clip_bounds_the_gradient_and_the_update(problem):
    params = {"w": jnp.full(3, 100.0, problem.examples["x"].dtype), "b": jnp.zeros((), problem.examples["x"].dtype)}
    dynamics = sgd(problem, learning_rate=0.1, batch_size=2, sampling="with_replacement", clip=0.5 / 0.1)
    update = jax.tree.map(jnp.subtract, dynamics.advance(dynamics.init(params), jnp.array([0, 1]), 0).params, params)
    np.testing.assert_allclose(optax.tree.norm(update), 0.5, rtol=1e-5)
    gradient = minibatch_gradient(problem, params, jnp.array([0, 1]))
    expected = -0.5 * gradient["w"] / optax.tree.norm(gradient)
    np.testing.assert_allclose(update["w"], expected, rtol=1e-3 if expected.dtype == jnp.float32 else 1e-10)
    free = sgd(problem, learning_rate=0.1, batch_size=2, sampling="with_replacement", clip=1e6)
    plain = sgd(problem, learning_rate=0.1, batch_size=2, sampling="with_replacement")
    a = free.advance(free.init(params), jnp.array([0, 1]), 0).params
    np.testing.assert_allclose(a["w"], plain.advance(plain.init(params), jnp.array([0, 1]), 0).params["w"], rtol=1e-6)


def test_a_schedule_is_read_at_the_integer_step(problem, key):
    schedule = optax.linear_schedule(0.1, 0.0, 4)
    ours = sgd(problem, learning_rate=schedule, batch_size=2, sampling="with_replacement", momentum=0.5)
    theirs = optimizer(problem, optax.sgd(schedule, 0.5), batch_size=2, sampling="with_replacement")
    np.testing.assert_allclose(run(ours, key, 4)["w"], run(theirs, key, 4)["w"], rtol=1e-5)
    np.testing.assert_allclose([ours.duration(step) for step in range(3)], [0.2, 0.15, 0.1], rtol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (lambda step: jnp.full(3, 0.1), r"one real number at a step, got float64\[3\]"),
        (lambda step: True, r"one real number at a step, got bool\[\]"),
        (lambda step: 0.1j, "one real number at a step, got complex"),
        (lambda step: None, "one real number at a step, got NoneType"),
        (lambda step: -0.1, r"a finite number >= 0 at every step, got -0\.1 at step 0"),
        (lambda step: jnp.nan, "got nan at step 0"),
        (
            lambda step: 0.1 if step < 5 else 0.2,
            r"traced by JAX, branches .* as jnp.where",
        ),
        (lambda step: np.exp(-step), "gives an array to NumPy.* call jax.numpy"),
    ],
)
def test_a_schedule_is_looked_at_before_anything_runs(problem, schedule, message):
    with pytest.raises((TypeError, ValueError), match=f"learning_rate: .*<lambda> .*{message}"):
        sgd(problem, learning_rate=schedule, batch_size=2, sampling="with_replacement")


@pytest.mark.parametrize("kind", ["SGD", "SDE"])
def test_a_rate_that_is_negative_by_rounding_is_0_and_any_other_is_nan(problem, key, kind):
    """Whatever the step: those of a run are looked at in nine places only."""
    dip = lambda step: jnp.where(step == 7, -1e-3, jnp.where(step > 7, -1e-9, 0.1))
    dynamics = sgd(problem, learning_rate=dip, batch_size=2, sampling="with_replacement")
    if kind == "SDE":
        dynamics = match(dynamics, noise.anisotropic, substeps=2)
    start = problem.init(key)
    moved = lambda step: dynamics.advance(dynamics.init(start), dynamics.draw(key, step, 0), step).params["w"]
    assert dynamics.duration(8) == 0
    np.testing.assert_array_equal(moved(8), start["w"])
    assert np.isnan(dynamics.duration(7))
    assert np.isnan(moved(7)).all()
    assert np.isfinite(moved(6)).all()
    assert (moved(6) != start["w"]).any()


def test_a_schedule_is_looked_at_over_the_steps_of_a_run(problem, key):
    """Up to the end and no further: what it says of other steps is nobody's affair. Whole rates are numbers."""
    falling = sgd(problem, learning_rate=lambda step: 0.1 - 0.01 * step, batch_size=2, sampling="with_replacement")
    options = {"num_chains": 2, "observe": lambda params: params["b"], "every": 1}
    check_schedule(falling.learning_rate, 0, 10)
    with pytest.raises(ValueError, match=r"got -0\.01 at step 11"):
        simulate(falling, problem.init(key), key, num_steps=12, **options)
    whole = sgd(problem, learning_rate=lambda step: 1, batch_size=2, sampling="with_replacement")
    assert whole.duration(0).dtype == float
    check_schedule(optax.linear_schedule(0.1, 0.0, 10), 0, 100)  # it ends at -1.5e-9
    traced = jax.jit(lambda rate: sgd(problem, **OPTIONS, learning_rate=lambda step: rate / (1 + step)).duration(1))
    np.testing.assert_allclose(traced(0.2), 0.1, rtol=1e-6)


def test_an_optimizer_that_draws_has_a_key_of_its_own_in_every_chain(key):
    """With one key for all, chains of full batches would end at one number."""
    flat = Problem(lambda x, z: jnp.sum(x * z), np.ones((4, 1)), lambda key: jnp.zeros(1))
    options = {"batch_size": 4, "sampling": "without_replacement"}
    noisy = optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(0)), optax.sgd(0.1))
    run = {"num_steps": 1, "num_chains": 6, "observe": lambda params: params, "every": 1}
    ends = simulate(optimizer(flat, noisy, **options), jnp.zeros(1), key, **run).params
    assert len(np.unique(ends)) == 6
    raw = optax.GradientTransformation(lambda params: jax.random.PRNGKey(0), lambda *state: state[:2])
    with pytest.raises(TypeError, match=r"its state is a raw random key .* make it with jax\.random\.key"):
        optimizer(flat, raw, **options)


def test_own_keys_depend_on_the_chain_the_run_and_the_given_key():
    def keys(seed, run, num_chains):
        given = jnp.broadcast_to(jax.random.key(seed), (num_chains,))
        state = with_own_keys(
            {"key": given, "count": jnp.zeros(num_chains)}, chain_keys(jax.random.key(run), num_chains)
        )
        return jax.random.key_data(state["key"])[:, 0]

    first, *others = keys(0, 0, 6), keys(1, 0, 6), keys(0, 1, 6)
    np.testing.assert_array_equal(keys(0, 0, 2), first[:2])
    assert len(np.unique(np.concatenate([first, *others]))) == 18


def test_a_rate_that_is_zero_in_the_parameters_precision_is_refused(problem):
    if problem.examples["y"].dtype == jnp.float32:
        with pytest.raises(ValueError, match="learning_rate: 1e-50 is 0 in float32, the precision of the parameters"):
            sgd(problem, **OPTIONS, learning_rate=1e-50)
    else:
        sgd(problem, **OPTIONS, learning_rate=1e-50)


def test_a_clip_bounds_the_gradient_and_not_the_momentum(problem):
    """Two equal steps: the buffer is (1 + momentum) times the clipped gradient, above the bound itself."""
    params = {"w": jnp.full(3, 100.0, problem.examples["x"].dtype), "b": jnp.zeros((), problem.examples["x"].dtype)}
    dynamics = sgd(problem, **OPTIONS, learning_rate=1e-9, momentum=0.5, clip=2.0)
    state = dynamics.init(params)
    for _ in range(2):
        state = dynamics.advance(state, jnp.array([0, 1]), 0)
    np.testing.assert_allclose(optax.tree.norm(state.memory), 2.0 * 1.5, rtol=1e-5)


def test_an_epoch_is_a_permutation_of_the_examples(problem, key):
    dynamics = sgd(problem, learning_rate=0.1, batch_size=2, sampling="epoch")
    assert dynamics.period == 3
    draws = np.asarray(dynamics.draw(key, 0, 0))
    assert draws.shape == (3, 2)
    assert len(np.unique(draws)) == 6
    assert not np.array_equal(draws, dynamics.draw(key, 3, 0))


def test_durations_are_physical_time(problem):
    plain = sgd(problem, learning_rate=0.1, batch_size=2, sampling="with_replacement")
    heavy = sgd(problem, learning_rate=0.1, batch_size=2, sampling="with_replacement", momentum=0.9)
    adam = optimizer(problem, optax.adam(0.1), batch_size=2, sampling="with_replacement")
    assert plain.duration(0) == 0.1
    assert heavy.duration(0) == pytest.approx(1.0)
    assert np.isnan(adam.duration(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": -0.1}, "learning_rate: expected a number > 0, got -0.1"),
        ({"learning_rate": float("nan")}, "learning_rate: expected a finite number > 0"),
        ({"learning_rate": jnp.array([0.1, 0.2])}, "learning_rate: expected one number, got an array .* or a schedule"),
        ({"batch_size": 8}, "batch_size: expected an integer from 1 to 7, got 8"),
        ({"batch_size": 0}, "batch_size: expected an integer from 1"),
        ({"momentum": 1.0}, r"momentum: expected a number in \[0, 1\)"),
        ({"clip": 0.0}, "clip: expected a number > 0"),
    ],
)
def test_wrong_arguments_are_refused_by_name(problem, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        sgd(problem, **{"learning_rate": 0.1, "batch_size": 2, "sampling": "with_replacement", **options})
