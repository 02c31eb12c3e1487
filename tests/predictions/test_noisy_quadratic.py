"""The noisy quadratic model against stepping, enumeration, optax and stationary laws computed elsewhere."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sgdsde.predictions import (
    critical_batch_sizes,
    noisy_quadratic_loss,
    noisy_quadratic_moments,
    sgd_covariance,
    steps_to_loss,
)

CURVATURES = np.array([2.0, 0.7, 0.1, 0.003])
NOISE = np.array([0.5, 0.0, 0.2, 0.4])
START = np.array([1.0, 2.0, 0.0, 3.0])
MODEL = {"curvatures": CURVATURES, "noise_variances": NOISE, "start_variances": START}
PAPER = 1 / np.arange(1, 301)


def stepped(curvatures, noise_variances, start_variances, learning_rate, momentum, num_steps):
    """E x^2 at steps 0, ..., num_steps: the 2 x 2 covariance of (x, m) under m' = mu m + h x + xi, x' = x - eta m'."""
    rows = []
    for h, c, s in np.broadcast(curvatures, noise_variances, start_variances):
        drift = np.array([[1 - learning_rate * h, -learning_rate * momentum], [h, momentum]])
        kick = np.array([-learning_rate, 1.0])
        covariance = np.diag([s, 0.0])
        row = [covariance[0, 0]]
        for _ in range(num_steps):
            covariance = drift @ covariance @ drift.T + c * np.outer(kick, kick)
            row.append(covariance[0, 0])
        rows.append(row)
    return np.array(rows).T


@pytest.mark.parametrize(("momentum", "rate"), [(0.0, 0.3), (0.0, 0.99), (0.5, 0.01), (0.9, 0.3), (0.99, 1.9)])
def test_moments_and_losses_are_those_of_stepping(momentum, rate):
    expected = stepped(CURVATURES, NOISE, START, rate, momentum, 2000)
    steps = np.array([[0, 1, 2], [7, 333, 2000]])
    measured = noisy_quadratic_moments(steps, **MODEL, learning_rate=rate, momentum=momentum)
    assert measured.shape == (2, 3, 4)
    rounding = 1e-14  # of the start, where a coordinate without noise has decayed
    np.testing.assert_allclose(measured, expected[steps], rtol=1e-10, atol=rounding)
    losses = noisy_quadratic_loss(steps, **MODEL, learning_rate=rate, momentum=momentum)
    np.testing.assert_allclose(losses, expected[steps] @ CURVATURES / 2, rtol=1e-10)
    alone = noisy_quadratic_loss(7, **MODEL, learning_rate=rate, momentum=momentum)
    np.testing.assert_allclose(alone, losses[1, 0], rtol=1e-14)


def test_moments_are_the_mean_over_every_sequence_of_signs():
    h, c, s, rate, mu = 0.8, 0.6, 1.7, 0.5, 0.7
    ends = []
    for signs in itertools.product((-1, 1), repeat=6):
        x, m = signs[0] * np.sqrt(s), 0.0
        for sign in signs[1:]:
            m = mu * m + h * x + sign * np.sqrt(c)
            x = x - rate * m
        ends.append(x**2)
    one = {"curvatures": np.array([h]), "noise_variances": c, "start_variances": s}
    measured = noisy_quadratic_moments(5, **one, learning_rate=rate, momentum=mu)
    np.testing.assert_allclose(measured, [np.mean(ends)], rtol=1e-12)


def test_without_momentum_it_is_the_scalar_recursion_in_closed_form():
    rate, k = 0.45, 123_457
    squared = (1 - rate * CURVATURES) ** (2 * k)
    expected = squared * START + rate**2 * NOISE * (1 - squared) / (1 - (1 - rate * CURVATURES) ** 2)
    np.testing.assert_allclose(noisy_quadratic_moments(k, **MODEL, learning_rate=rate), expected, rtol=1e-9)


def test_without_noise_it_is_the_path_of_optax():
    with jax.numpy_dtype_promotion("standard"):
        optimizer = optax.sgd(0.4, momentum=0.85)
        x = jnp.sqrt(START)
        memory = optimizer.init(x)
        for _ in range(60):
            update, memory = optimizer.update(jnp.multiply(CURVATURES, jnp.asarray(x)), memory, x)
            x = optax.apply_updates(x, update)
    quiet = MODEL | {"noise_variances": 0.0}
    measured = noisy_quadratic_moments(60, **quiet, learning_rate=0.4, momentum=0.85)
    np.testing.assert_allclose(measured, np.asarray(x) ** 2, rtol=1e-10)


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99])
def test_late_moments_are_the_stationary_covariance(momentum):
    expected = sgd_covariance(np.diag(CURVATURES), np.diag(NOISE), learning_rate=0.6, momentum=momentum)
    measured = noisy_quadratic_moments(2**24 - 1, **MODEL, learning_rate=0.6, momentum=momentum)
    np.testing.assert_allclose(measured, np.diag(expected), rtol=1e-9)


def paper(batch_size):
    return {"curvatures": PAPER, "noise_variances": PAPER / batch_size, "start_variances": 1.0}


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.97])
def test_steps_are_the_first_crossing_of_a_scan(momentum):
    target, batch_size = 0.05, 4096.0
    rates = 2 * (1 + momentum) / (1 + np.exp(-np.linspace(-4, 3, 9)))

    @jax.jit
    def found(rate):
        return steps_to_loss(target, **paper(batch_size), learning_rate=rate, momentum=momentum)

    h, steps = PAPER[:, None], np.asarray(jax.vmap(found)(rates))
    pull, kick = rates * h, rates**2 * h / batch_size
    xx, xv, vv = np.ones_like(pull), np.zeros_like(pull), np.zeros_like(pull)
    first = np.full(len(rates), np.inf)
    for step in range(1, 10_001):
        velocity = momentum**2 * vv + 2 * momentum * pull * xv + pull**2 * xx + kick
        cross = momentum * xv + pull * xx
        xx, xv, vv = xx - 2 * cross + velocity, cross - velocity, velocity
        first = np.where(np.isinf(first) & ((h * xx).sum(0) / 2 <= target), step, first)
    assert np.isfinite(first).sum() >= 6
    if momentum == 0:
        np.testing.assert_array_equal(steps, first)
    best = np.argmin(first)  # up to the tuned rate it is the first crossing, beyond it the loss may oscillate
    assert np.argmin(steps) == best
    np.testing.assert_array_equal(steps[: best + 1], first[: best + 1])
    assert np.all(steps >= first)
    for k, rate in zip(steps, rates, strict=True):
        if np.isfinite(k):
            ends = np.array([k - 1, k]).astype(int)
            before, after = noisy_quadratic_loss(ends, **paper(batch_size), learning_rate=rate, momentum=momentum)
            assert before > target >= after


def test_a_target_never_reached_takes_infinitely_many_steps_and_one_at_the_start_none():
    floor = np.sum(0.5 * PAPER / (4 * (2 - 0.5 * PAPER)) * 1.0)  # batch 2: sum of eta h_i / (2 B (2 - eta h_i))
    assert np.isinf(steps_to_loss(0.99 * floor, **paper(2.0), learning_rate=0.5))
    assert np.isfinite(steps_to_loss(1.01 * floor, **paper(2.0), learning_rate=0.5))
    for rate, momentum in [(2.01, 0.0), (3.9, 0.9), (50.0, 0.9)]:
        assert np.isinf(steps_to_loss(0.1, **paper(1e6), learning_rate=rate, momentum=momentum))
    assert np.isinf(steps_to_loss(1e-3, **paper(1e6), learning_rate=1e-9))
    assert steps_to_loss(PAPER.sum() / 2, **paper(2.0), learning_rate=0.5) == 0
    assert steps_to_loss(PAPER.sum() / 2 - 0.1, **paper(64.0), learning_rate=0.5) == 1


def test_multiplicities_count_coordinates():
    counts = np.array([3, 1, 4, 2])
    repeated = {name: np.repeat(value, counts) for name, value in MODEL.items()}
    options = {"learning_rate": 0.2, "momentum": 0.6}
    losses = noisy_quadratic_loss(40, **MODEL, **options, multiplicities=counts.astype(float))
    np.testing.assert_allclose(losses, noisy_quadratic_loss(40, **repeated, **options), rtol=1e-13)
    target = float(losses) * 1.0001
    counted = steps_to_loss(target, **MODEL, **options, multiplicities=counts.astype(float))
    assert counted == steps_to_loss(target, **repeated, **options)
    moments = noisy_quadratic_moments(40, **MODEL, **options)
    few = critical_batch_sizes(moments, curvatures=CURVATURES, gradient_variances=NOISE, multiplicities=counts)
    many = critical_batch_sizes(
        np.repeat(moments, counts), curvatures=repeated["curvatures"], gradient_variances=repeated["noise_variances"]
    )
    for name in ("simple", "curved"):
        np.testing.assert_allclose(few[name], many[name], rtol=1e-12)


def test_critical_batch_sizes_are_where_noise_equals_gradient():
    x = np.array([0.3, -1.0, 2.0, 5.0])
    gradient = CURVATURES * x
    found = critical_batch_sizes(x**2, curvatures=CURVATURES, gradient_variances=NOISE)
    np.testing.assert_allclose(NOISE.sum() / found["simple"], np.sum(gradient**2), rtol=1e-12)
    rates = np.linspace(1e-4, 2, 200_001)

    def best_gain(batch_size):  # of E[L(x) - L(x - rate g)], over the rate
        curvature = gradient @ (CURVATURES * gradient) + np.sum(CURVATURES * NOISE) / batch_size
        return np.max(rates * np.sum(gradient**2) - rates**2 * curvature / 2)

    np.testing.assert_allclose(best_gain(float(found["curved"])), best_gain(np.inf) / 2, rtol=1e-8)
    rows = critical_batch_sizes(np.stack([x**2, 4 * x**2]), curvatures=CURVATURES, gradient_variances=NOISE)
    np.testing.assert_allclose(rows["curved"], found["curved"] / np.array([1.0, 4.0]), rtol=1e-12)


@pytest.mark.parametrize(
    ("batch_size", "momentum", "rate"),
    [(1.0, 0.0, 0.0034), (1024.0, 0.0, 1.6351), (65536.0, 0.0, 1.9672), (1.0, 0.99, 3.4e-5), (65536.0, 0.9, 3.4812)],
)
def test_float32_keeps_the_digits_of_a_million_small_steps(batch_size, momentum, rate):
    curvatures = 1 / np.arange(1, 10_001)
    model = {"curvatures": curvatures, "noise_variances": curvatures / batch_size, "start_variances": 1.0}
    model |= {"learning_rate": rate, "momentum": momentum}
    expected = float(steps_to_loss(0.01, **model))
    ends = np.array([int(expected) // 3, int(expected)])
    losses = np.asarray(noisy_quadratic_loss(ends, **model))
    with jax.enable_x64(False):
        measured, found = steps_to_loss(0.01, **model), noisy_quadratic_loss(ends, **model)
    assert measured.dtype == found.dtype == jnp.float32
    np.testing.assert_allclose(found, losses, rtol=3e-5)
    assert abs(float(measured) - expected) <= max(1, 1e-5 * expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"momentum": 1.0}, "momentum"),
        ({"target": -1.0}, "target"),
        ({"curvatures": np.array([1.0, -0.1])}, "curvatures"),
        ({"curvatures": 1.0}, r"curvatures: expected shape \(d,\)"),
        ({"noise_variances": np.ones(3)}, "noise_variances: expected a number or"),
        ({"start_variances": np.nan}, "start_variances"),
        ({"multiplicities": -1.0}, "multiplicities"),
    ],
)
def test_bad_arguments_are_named(change, message):
    model = {"curvatures": np.ones(2), "noise_variances": 1.0, "start_variances": 1.0, "learning_rate": 0.1}
    with pytest.raises(ValueError, match=message):
        steps_to_loss(**({"target": 0.1, **model} | change))


def test_step_counts_are_whole_and_not_negative():
    for wrong in (-1, 2.5, 2**24):
        with pytest.raises(ValueError, match="num_steps"):
            noisy_quadratic_loss(wrong, **MODEL, learning_rate=0.1)
