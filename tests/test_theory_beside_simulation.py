"""Predictions that no experiment holds against a simulation: here they are.

Each comparison is of so many chains that 2 % would be seen (of an exit time 5 %), with a false alarm of 4e-9. Most also
reject a law that is nearly right.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgdsde import (
    euler_maruyama,
    first_exit,
    implicit,
    landscapes,
    match,
    noise,
    predictions,
    regression,
    sgd,
    simulate,
)
from sgdsde.measurements import cdf_distance, mean_exit_time

pytestmark = pytest.mark.slow
LIMIT = 5.9
RATE, BATCH, CURVATURE, ADDITIVE, MULTIPLICATIVE = 0.05, 1, 1.0, 1.0, 12.0


def position(params):
    return params[0]


def drift(x):
    return -CURVATURE * x


def diffusion(x):
    return RATE / (2 * BATCH) * (ADDITIVE + MULTIPLICATIVE * x[0] ** 2)


def exits(found, step):
    """Times and whether they are exits."""
    return step * np.asarray(found.state.memory.microsteps), np.asarray(found.state.memory.exited)


@pytest.fixture(scope="module")
def multiplicative():
    """The SDE of SGD on a parabola whose noise grows with |x|."""
    problem = landscapes.state_dependent(
        curvature=CURVATURE, additive=ADDITIVE, multiplicative=MULTIPLICATIVE, num_examples=8
    )
    discrete = sgd(problem, learning_rate=RATE, batch_size=BATCH, sampling="with_replacement")
    return match(discrete, noise.anisotropic, substeps=8)


def test_a_density_on_its_way(multiplicative, key):
    """At t = 1, from a narrow start at 1; Stratonovich's is rejected."""
    found = simulate(
        multiplicative, lambda key: 1 + 0.2 * jax.random.normal(key, (1,)), key, num_steps=20, num_chains=200_000,
        observe=position, every=20,
    )  # fmt: skip
    grid = np.linspace(-6.0, 6.0, 1201)
    start = np.exp(-((grid - 1) ** 2) / 0.08) / np.sqrt(0.08 * np.pi)
    for convention, limit in (("ito", 0.005), ("stratonovich", None)):
        law = predictions.fokker_planck_evolution(drift, diffusion, start, grid, duration=1.0, convention=convention)
        distance, error = cdf_distance(found.observed[0], grid, law.density)
        assert LIMIT * error < 0.01, "2 % of a half"
        assert distance < limit + LIMIT * error if limit else distance > 10 * error


def test_leaving_an_interval(multiplicative, key):
    """Through which end, and when: boundaries moved by the microstep, each by the diffusion that is there."""
    lower, upper, start = -0.2, 0.3, 0.1
    wrapped = first_exit(multiplicative, lambda params: (params[0] > lower) & (params[0] < upper))
    found = simulate(wrapped, jnp.array([start]), key, num_steps=200, num_chains=200_000, observe=position, every=200)
    step = RATE / 8
    assert np.asarray(found.state.memory.exited).mean() > 0.997
    moved = {
        name: float(
            predictions.moved_boundary(end, start=start, temperature=diffusion(jnp.array([end])), time_step=step)
        )
        for name, end in (("lower", lower), ("upper", upper))
    }
    law = predictions.interval_exit(drift, diffusion, start=start, **moved, convention="ito")
    share = float(np.mean(np.asarray(found.params[:, 0]) > upper))
    error = np.sqrt(share * (1 - share) / 200_000)
    assert LIMIT * error < 0.02 * share
    assert abs(share - law.upper_probability) < LIMIT * error + 0.005
    time, error = mean_exit_time(*exits(found, step))
    assert LIMIT * error < 0.02 * law.mean
    assert abs(time - law.mean) < LIMIT * error + 0.02 * law.mean
    plain = predictions.interval_exit(drift, diffusion, start=start, lower=lower, upper=upper, convention="ito")
    assert abs(time - plain.mean) > 10 * error


def test_a_double_well_forgets_at_the_relaxation_rate(key):
    """The mean of chains from one well, between two times at which faster modes are gone; Kramers is rejected."""
    temperature = 0.1
    problem = landscapes.double_well(
        barrier=0.25, transverse_curvature=(), gradient_covariance=2 * temperature / RATE, num_examples=4
    )
    dynamics = euler_maruyama(
        problem, noise.isotropic(problem, variance=2 * temperature / RATE), learning_rate=RATE, substeps=4
    )
    found = simulate(
        dynamics, jnp.ones(1), key, num_steps=400, num_chains=1_500_000, observe=position, every=100, average=True
    )
    (early, *_, late), (early_error, *_, late_error) = np.asarray(found.observed[0]), np.asarray(found.observed[1])
    measured = np.log(early / late) / (300 * RATE)
    error = np.hypot(early_error / early, late_error / late) / (300 * RATE)
    slope = jax.grad(lambda x: -0.25 * (x[0] ** 2 - 1) ** 2)
    rate, numerical = predictions.relaxation_rate(
        slope, lambda x: jnp.asarray(temperature), np.linspace(-2.5, 2.5, 801), convention="ito"
    )
    assert LIMIT * error < 0.02 * rate
    assert abs(measured - rate) < LIMIT * error + numerical + 0.01 * rate
    kramers = predictions.kramers_rate(2.0, -1.0, barrier=0.25, temperature=temperature)
    assert abs(measured - 2 * kramers) > LIMIT * error


def test_a_density_under_jumps_on_its_way(key):
    """Tail index 1.5 in x^4/4 - x^2/2 at t = 0.5, implicit microsteps; its stationary density is rejected."""
    problem = landscapes.quartic(curvature=-1.0, coefficient=1.0, gradient_covariance=1.0, num_examples=4)
    kicks = noise.levy_coordinates(problem, tail_index=1.5, scale=0.5 / 0.05 ** (1 / 3))
    dynamics = euler_maruyama(problem, kicks, learning_rate=0.05, substeps=20, scheme=implicit)
    found = simulate(
        dynamics, lambda key: 0.1 * jax.random.normal(key, (1,)), key, num_steps=10, num_chains=200_000,
        observe=position, every=10,
    )  # fmt: skip
    grid = np.sinh(np.linspace(-5.5, 5.5, 801))
    options = {"tail_index": 1.5, "scale": 0.5}
    slope = lambda x: x**3 - x
    on_its_way = predictions.levy_density_evolution(
        slope, np.exp(-(grid**2) / 0.02), grid, durations=np.array([0.5]), **options
    )
    distance, error = cdf_distance(found.observed[0], grid, on_its_way.density[0])
    assert LIMIT * error < 0.01, "2 % of a half"
    assert distance < 0.004 + LIMIT * error
    rest = predictions.levy_stationary_density(slope, grid, **options)
    assert cdf_distance(found.observed[0], grid, rest.density)[0] > 10 * error


def test_a_free_levy_process_leaves_a_ball(key):
    problem = landscapes.quadratic(0.0, gradient_covariance=1.0, num_examples=4)
    step = 1e-3
    scale = step ** (1 / 1.5 - 1)  # of the gradient noise whose SDE has scale 1
    free = euler_maruyama(problem, noise.levy_coordinates(problem, tail_index=1.5, scale=scale), learning_rate=step)
    inside = first_exit(free, lambda params: jnp.abs(params[0]) < 1)
    expected = float(predictions.free_levy_exit_time(0.3, tail_index=1.5, scale=1.0, half_width=1.0))
    steps = int(2 * expected / step)
    found = simulate(inside, jnp.array([0.3]), key, num_steps=steps, num_chains=20_000, observe=position, every=steps)
    time, error = mean_exit_time(*exits(found, step))
    assert LIMIT * error < 0.05 * expected
    assert abs(time - expected) < LIMIT * error + 0.03 * expected


def test_memory_within_and_between_epochs(key):
    """E[x_(k+j) x_k] at every phase of epochs of ten steps, momentum 0.5."""
    options = {"learning_rate": 0.3, "batch_size": 4, "momentum": 0.5}
    problem = landscapes.quadratic(0.4, gradient_covariance=1.0, num_examples=40)
    dynamics = sgd(problem, sampling="epoch", **options)
    sizes = {"num_chains": 8_000, "observe": position}
    relaxed = simulate(dynamics, jnp.zeros(1), key, num_steps=100, every=100, **sizes)
    seen = np.asarray(simulate(dynamics, relaxed, key, num_steps=350, every=1, **sizes).observed)
    law = predictions.epoch_autocovariance(0.4, 1.0, num_examples=40, num_lags=12, **options)[..., 0, 0]
    for phase in range(10):  # the first record is one step into an epoch
        starts = 9 + phase + 10 * np.arange(32)
        products = np.stack([(seen[starts] * seen[starts + lag]).mean(axis=0) for lag in range(12)])
        error = products.std(axis=1) / np.sqrt(products.shape[1])
        assert (np.abs(products.mean(axis=1) - law[phase]) < LIMIT * error).all(), phase
    assert LIMIT * error[0] < 0.02 * law[9, 0]
    assert np.abs(law - law.mean(axis=0)).max() > 10 * error.max(), "phases differ by more than the errors"


def test_between_the_two_stabilities_a_chain_contracts_though_its_variance_grows(key):
    inputs = np.linspace(0.2, 2.0, 8)[:, None]
    low = predictions.critical_learning_rate(inputs, batch_size=2, sampling="with_replacement")
    high = predictions.almost_sure_critical_learning_rate(inputs, batch_size=2)
    rate = (low + high) / 2
    assert low < rate < high
    problem = regression.linear_regression(jnp.asarray(inputs), jnp.zeros(8))
    dynamics = sgd(problem, learning_rate=rate, batch_size=2, sampling="with_replacement")
    found = simulate(dynamics, jnp.ones(1), key, num_steps=30, num_chains=60_000, observe=position, every=30)
    growth = np.log(np.abs(np.asarray(found.observed[0]))) / 30
    error = growth.std() / np.sqrt(growth.size)
    expected = predictions.lyapunov_exponent(inputs, learning_rate=rate, batch_size=2)
    assert expected < 0
    assert LIMIT * error < 0.02 * abs(expected)
    assert abs(growth.mean() - expected) < LIMIT * error
    assert growth.mean() < -10 * error
