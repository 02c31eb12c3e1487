"""Fourier powers against known waves and NumPy's transform; restricted and excluded loss of networks known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgdsde.observables import (
    accuracy,
    circuit_progress,
    excluded_loss,
    frequency_power,
    inverse_participation_ratio,
    key_frequencies,
    mean_example_loss,
    num_key_frequencies,
    observer,
    restricted_loss,
    shares_of_power,
    weight_norm,
)
from sgdsde.problems import modular_addition
from sgdsde.problems.modular_addition import all_pairs, cross_entropy, split, squared_error

pytestmark = pytest.mark.slow  # networks; every day they run as experiments at smoke size

KEY = jax.random.key(5)
RANDOM = np.random.default_rng(6)


def itself(params):
    return params


def wave(modulus, frequency, phase=0.3):
    return np.cos(2 * np.pi * (frequency * np.arange(modulus) / modulus + phase))


def table_logits(params, pairs):
    """A network that is a table (p, p, p)."""
    return params[pairs[:, 0], pairs[:, 1]]


def waves_of_sum(modulus, frequencies):
    """Logits sum_f cos(2 pi f (m + n - q)/p), a table."""
    m, n, q = np.indices((modulus,) * 3)
    return sum(np.cos(2 * np.pi * f * (m + n - q) / modulus) for f in frequencies)


def mask(modulus, chosen):
    return np.isin(np.arange(modulus // 2 + 1), chosen)


@pytest.mark.parametrize("modulus", [7, 8])
def test_power_of_known_rows(modulus):
    rows = np.stack([wave(modulus, 2), 3 + wave(modulus, 2) + 2 * wave(modulus, 1, 0.6), np.eye(modulus)[3]])
    expected = np.zeros((3, modulus // 2 + 1))
    expected[0, 2] = modulus / 2
    expected[1, :3] = 9 * modulus, 4 * modulus / 2, modulus / 2
    expected[2] = 2 / modulus
    expected[2, 0] = 1 / modulus
    if modulus == 8:
        expected[2, 4] = 1 / modulus
    np.testing.assert_allclose(frequency_power(itself, jnp.asarray(rows)), expected, atol=1e-12)


@pytest.mark.parametrize("modulus", [7, 8])
def test_power_against_the_transform(modulus):
    """Parseval, and NumPy's transform, whose squares count each frequency's two halves once; any leading axes."""
    rows = RANDOM.standard_normal((2, 3, modulus))
    found = np.asarray(frequency_power(itself, jnp.asarray(rows)))
    np.testing.assert_allclose(found.sum(axis=-1), (rows**2).sum(axis=-1), rtol=1e-12)
    squares = np.abs(np.fft.rfft(rows, axis=-1)) ** 2
    twice = np.full(modulus // 2 + 1, 2)
    twice[0] = 1
    if modulus == 8:
        twice[-1] = 1
    np.testing.assert_allclose(found, twice * squares / modulus, rtol=1e-10, atol=1e-14)
    shares = squares / squares.sum(axis=-1, keepdims=True)
    ratio = inverse_participation_ratio(itself, jnp.asarray(rows))
    np.testing.assert_allclose(ratio, (shares**2).sum(axis=-1), rtol=1e-10)


def test_participation_of_known_rows():
    rows = [wave(7, 2), wave(7, 1) + wave(7, 2, 0.7), np.eye(7)[3], 1e-30 * wave(7, 3), np.full(7, 2.0), np.zeros(7)]
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-5)):
        found = inverse_participation_ratio(itself, jnp.asarray(np.array(rows), dtype))
        np.testing.assert_allclose(found, [1, 1 / 2, 1 / 4, 1, 1, np.nan], rtol=tolerance)
        assert found.dtype == dtype
    np.testing.assert_allclose(inverse_participation_ratio(itself, jnp.asarray(wave(8, 4, 0.1))), 1, rtol=1e-12)


def test_participation_of_white_noise():
    """2/(m + 1), m = (p - 1)/2, for noise without its mean: shares uniform on a simplex. 1/m and 2/m are off by more
    than ten standard errors."""
    rows = RANDOM.standard_normal((20_000, 13))
    found = np.asarray(inverse_participation_ratio(itself, jnp.asarray(rows - rows.mean(axis=1, keepdims=True))))
    standard_error = found.std(ddof=1) / np.sqrt(found.size)
    assert 10 * standard_error < 2 / 6 - 2 / 7
    assert abs(found.mean() - 2 / 7) < 5.9 * standard_error


@pytest.mark.parametrize("modulus", [7, 8])
def test_key_frequencies(modulus):
    """Powers 8, 4 and 1 times p/2 at the frequencies 3, 1, 2, and a constant that is left out."""
    rows = jnp.asarray(
        np.stack([2 * wave(modulus, 3) + 5, 2 * wave(modulus, 3, 0.9) + wave(modulus, 2), 2 * wave(modulus, 1)])
    )
    for fraction, chosen in ((0.5, [3]), (8 / 13 + 1e-9, [3, 1]), (12 / 13 - 1e-9, [3, 1]), (0.95, [3, 1, 2])):
        np.testing.assert_array_equal(key_frequencies(itself, fraction, rows), mask(modulus, chosen))
        assert num_key_frequencies(itself, fraction, rows) == len(chosen)
    observe = observer(num_key_frequencies, itself, 0.95)
    np.testing.assert_array_equal(jax.jit(jax.vmap(observe))(jnp.stack([rows, 2 * rows])), [3, 3])
    np.testing.assert_array_equal(key_frequencies(itself, 0.9, jnp.zeros((2, modulus))), mask(modulus, []))


@pytest.mark.parametrize("modulus", [7, 8])
def test_losses_of_a_network_made_of_two_frequencies(modulus):
    """With the right frequencies, the restriction changes nothing and the exclusion leaves chance; with others, the
    other way round."""
    params = jnp.asarray(3 * waves_of_sum(modulus, [1, 3]))
    train, _ = split(KEY, modulus=modulus, train_fraction=0.4)
    everything = all_pairs(modulus)
    at = lambda examples: jax.vmap(cross_entropy)(
        table_logits(params, examples["pairs"]), jnp.asarray(examples["sums"])
    )
    at_mask = {
        "restricted": jax.jit(lambda chosen: restricted_loss(table_logits, cross_entropy, chosen, params)),
        "excluded": jax.jit(lambda chosen: excluded_loss(table_logits, cross_entropy, train, chosen, params)),
    }
    restricted, excluded = (lambda chosen, name=name: at_mask[name](mask(modulus, chosen)) for name in at_mask)
    np.testing.assert_allclose(restricted([1, 3]), at(everything).mean(), rtol=1e-12)
    np.testing.assert_allclose(excluded([1, 3]), np.log(modulus), rtol=1e-12)
    np.testing.assert_allclose(restricted([2]), np.log(modulus), rtol=1e-12)
    np.testing.assert_allclose(excluded([2]), at(train).mean(), rtol=1e-12)
    half = np.log(np.exp(3 * wave(modulus, 1, 0)).sum()) - 3
    np.testing.assert_allclose([restricted([1]), excluded([3])], half, rtol=1e-12)


def test_losses_of_a_network_that_solves_the_task():
    """Logits p [q = m + n] - 1 are the sum of all cosines, twice: all frequencies together give the network back, none
    give zero; and 0 has the squared error 1/p."""
    params = jnp.asarray(2 * waves_of_sum(11, range(1, 6)))
    expected = 11 * np.eye(11)[np.add.outer(np.arange(11), np.arange(11)) % 11] - 1
    np.testing.assert_allclose(params, expected, atol=1e-12)
    train, _ = split(KEY, modulus=11, train_fraction=0.3)
    whole = mask(11, range(1, 6))
    exact = np.log1p(10 * np.exp(-11.0))
    np.testing.assert_allclose(restricted_loss(table_logits, cross_entropy, whole, params), exact, rtol=1e-9)
    np.testing.assert_allclose(excluded_loss(table_logits, cross_entropy, train, whole, params), np.log(11), rtol=1e-12)
    np.testing.assert_allclose(excluded_loss(table_logits, squared_error, train, whole, params), 1 / 11, rtol=1e-12)


def test_what_is_restricted_to_and_what_is_taken_out():
    """Of any table: against projections on the p^2 values of cos and sin of each frequency of the sum, output by
    output; what is constant over pairs stays in both."""
    modulus = 6
    params = jnp.asarray(RANDOM.standard_normal((modulus,) * 3) + np.arange(modulus))
    flat = np.asarray(params).reshape(-1, modulus)
    everything = all_pairs(modulus)
    sums, kept = everything["sums"], np.zeros_like(flat)
    for frequency in (1, 3):
        for function in (np.cos, np.sin):
            direction = function(2 * np.pi * frequency * sums / modulus)
            if np.linalg.norm(direction) > 1e-6:  # no sine at half the modulus
                direction /= np.linalg.norm(direction)
                kept += np.outer(direction, direction @ flat)

    def mean_loss(logits, chosen):
        return jax.vmap(squared_error)(jnp.asarray(logits[chosen]), jnp.asarray(sums[chosen])).mean()

    frequencies, train = mask(modulus, [1, 3]), np.array([0, 5, 17, 30])
    found = restricted_loss(table_logits, squared_error, frequencies, params)
    np.testing.assert_allclose(found, mean_loss(kept + flat.mean(axis=0), np.arange(36)), rtol=1e-12)
    examples = {name: leaf[train] for name, leaf in everything.items()}
    found = excluded_loss(table_logits, squared_error, examples, frequencies, params)
    np.testing.assert_allclose(found, mean_loss(flat - kept, train), rtol=1e-12)
    observe = observer(excluded_loss, table_logits, squared_error, examples, frequencies)
    np.testing.assert_allclose(jax.jit(observe)(params), found, rtol=1e-12)
    single = observe(params.astype(jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, found, rtol=1e-5)


def test_frequencies_are_a_mask():
    params = jnp.zeros((5, 5, 5))
    for wrong in (np.array([1, 2]), np.array([True, False]), np.arange(3)):
        with pytest.raises(ValueError, match="frequencies: expected a mask of 3 booleans for modulus 5"):
            restricted_loss(table_logits, cross_entropy, wrong, params)


def test_shares_are_those_of_the_waves_without_the_constant():
    weights = np.stack([3 * wave(7, 1), 1 * wave(7, 3), np.full(7, 5.0)])
    np.testing.assert_allclose(shares_of_power(itself, weights), [0.9, 0, 0.1], atol=1e-14)


def test_progress_is_each_of_its_parts():
    problem, test = modular_addition.embedding_mlp(
        KEY, modulus=7, num_embedding=3, num_hidden=4, activation=jax.nn.gelu, train_fraction=0.5, weight_decay=0.1
    )
    logits, params, chosen = modular_addition.embedding_mlp_logits(jax.nn.gelu), problem.init(KEY), np.arange(4) == 2
    found = circuit_progress(problem, logits, cross_entropy, test, chosen, params)
    train = problem.examples
    expected = {
        "train_accuracy": accuracy(logits, train["pairs"], train["sums"], params),
        "test_accuracy": accuracy(logits, test["pairs"], test["sums"], params),
        "train_loss": mean_example_loss(problem, train, params),
        "test_loss": mean_example_loss(problem, test, params),
        "restricted_loss": restricted_loss(logits, cross_entropy, chosen, params),
        "excluded_loss": excluded_loss(logits, cross_entropy, train, chosen, params),
        "norm": weight_norm(params),
    }
    jax.tree.map(np.testing.assert_array_equal, found, expected)
