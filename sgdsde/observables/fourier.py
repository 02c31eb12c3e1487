"""What a network for modular addition has learned, read in the Fourier basis of the residues 0, ..., p - 1.

The basis is real and orthonormal: 1/sqrt(p), and sqrt(2/p) cos(2 pi f r/p), sqrt(2/p) sin(2 pi f r/p) for the
frequencies f = 1, ..., p // 2 (for even p the last one is (-1)^r/sqrt(p) alone). Powers of cosine and sine are added:
a frequency's power does not know its phase.

`weights` and `logits` are functions of the parameters: weights(params) -> (..., p), anything as a function of the
residue (`modular_addition.neuron_weights`, `embedding_weights`), and logits(params, pairs (n, 2)) -> (n, p). Hold them
with `observer`: observer(inverse_participation_ratio, neuron_weights). Frequencies are chosen by a mask
(p // 2 + 1,) of booleans, place 0 the constant, as `key_frequencies` returns it.

Restricted and excluded loss: the logits, averaged over the pairs of each sum s = m + n, are projected on
cos(2 pi f s/p) and sin(2 pi f s/p) of the chosen frequencies f, each output by itself.
Source: Nanda, Chan, Lieberum, Smith, Steinhardt 2023 (2301.05217), section 5.1; inverse participation ratios: Doshi,
Das, He, Gromov 2023 (2310.13061).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sgdsde.arguments import check_floating, number, parts, shaped
from sgdsde.observables.losses import accuracy, mean_example_loss, weight_norm
from sgdsde.problem import Problem, check_params
from sgdsde.problems.modular_pairs import all_pairs, residues
from sgdsde.tracing import shapes_of

__all__ = [
    "circuit_progress",
    "excluded_loss",
    "frequency_power",
    "inverse_participation_ratio",
    "key_frequencies",
    "num_key_frequencies",
    "restricted_loss",
    "shares_of_power",
]

EXAMPLES = {"pairs": "(n, 2)", "sums": "(n,)"}


def frequency_power(weights: Callable, params: Any) -> jax.Array:
    """The power of every frequency, (..., p // 2 + 1), of weights(params) (..., p), place 0 the constant's.

    The powers of a row add up to its sum of squares (Parseval); white noise of variance v has power v at the constant,
    2 v at each frequency (v at p / 2).
    """
    values = _values(weights, params)
    return _power(values, _waves_of(values.shape[-1]))


def inverse_participation_ratio(weights: Callable, params: Any) -> jax.Array:
    """sum_f (|F_f| / |F|)^4 of every row of weights(params) (..., p): an array (...), one number a neuron and matrix.

    F is the discrete Fourier transform at the frequencies 0, ..., p // 2 (NumPy's rfft, so that a constant and a wave
    of the same |F_f| count alike). 1 for a single wave, 1/k for k equally strong ones, 1/(p // 2 + 1) for a single
    non-zero weight; white noise whose mean is subtracted has the expectation 2/((p - 1)/2 + 1), p odd. NaN for
    a row of zeros: a neuron that weight decay has killed has no shape.
    """
    values = _values(weights, params)
    waves = _waves_of(values.shape[-1])
    largest = jnp.max(jnp.abs(values), axis=-1, keepdims=True)
    values = values / jnp.where(largest > 0, largest, 1)  # the fourth power of small weights would underflow
    power = _power(values, waves / waves.sum(axis=0))
    total = jnp.sum(power, axis=-1)
    return jnp.sum(power**2, axis=-1) / jnp.where(total > 0, total**2, jnp.nan)


def key_frequencies(weights: Callable, fraction: Any, params: Any) -> jax.Array:
    """The fewest frequencies that together hold at least `fraction` of the power of weights(params): a mask.

    Power is summed over all rows; the constant has no part in it, neither in the mask nor in the whole.
    """
    fraction = number("fraction", fraction, at_least=0.0, at_most=1.0)
    power = frequency_power(weights, params)
    power = jnp.sum(power.reshape(-1, power.shape[-1]), axis=0).at[0].set(0)
    order = jnp.argsort(-power)
    before = jnp.cumsum(power[order]) - power[order]
    needed = (before < jnp.asarray(fraction, power.dtype) * jnp.sum(power)) & (power[order] > 0)
    return jnp.zeros(power.shape, bool).at[order].set(needed)


def num_key_frequencies(weights: Callable, fraction: Any, params: Any) -> jax.Array:
    """How many frequencies hold at least `fraction` of the power of weights(params), the constant left out."""
    return jnp.sum(key_frequencies(weights, fraction, params).astype(jnp.int32))


def restricted_loss(logits: Callable, example_loss: Callable, frequencies: Any, params: Any) -> jax.Array:
    """The mean loss over *all* pairs where the logits keep only their mean and the chosen frequencies of m + n.

    example_loss(logits (p,), sum) -> scalar: `modular_addition.cross_entropy` or `squared_error`. A network that works
    by these frequencies alone loses nothing by the restriction; one that memorises falls back to chance or below.
    """
    table = _means_by_sum(_all_logits(logits, params))
    kept = jnp.mean(table, axis=0, keepdims=True) + _product(_projection(frequencies, table), table)
    return _mean_loss(example_loss, kept, jnp.arange(len(table), dtype=jnp.int32))


def excluded_loss(
    logits: Callable, example_loss: Callable, examples: dict[str, Any], frequencies: Any, params: Any
) -> jax.Array:
    """The mean loss over `examples`, those trained on, where the chosen frequencies are taken out of the logits.

    It stays low while the network memorises, and rises as it comes to work by these frequencies, before the test loss
    falls. examples: {"pairs": (n, 2), "sums": (n,)}; the projection itself is over all pairs.
    """
    examples = parts("examples", examples, EXAMPLES, "whole numbers", like="all_pairs")
    full = _all_logits(logits, params)
    table = _means_by_sum(full)
    removed = _product(_projection(frequencies, table), table)
    pairs, sums = (residues(f"examples[{name!r}]", examples[name], EXAMPLES[name], len(table)) for name in EXAMPLES)
    return _mean_loss(example_loss, full[pairs[:, 0], pairs[:, 1]] - removed[sums], sums)


def circuit_progress(
    problem: Problem, logits: Callable, example_loss: Callable, test: dict[str, Any], frequencies: Any, params: Any
) -> dict[str, jax.Array]:
    """What a network for modular addition gets right, and how far it works by the chosen frequencies: train and test
    accuracy and mean loss, `restricted_loss`, `excluded_loss` on the training pairs, and the norm of the weights."""
    check_params(problem, params)
    train = problem.examples
    for name, examples in (("problem.examples", train), ("test", test)):
        parts(name, examples, EXAMPLES, "whole numbers", like="all_pairs")
    return {
        "train_accuracy": accuracy(logits, train["pairs"], train["sums"], params),
        "test_accuracy": accuracy(logits, test["pairs"], test["sums"], params),
        "train_loss": mean_example_loss(problem, train, params),
        "test_loss": mean_example_loss(problem, test, params),
        "restricted_loss": restricted_loss(logits, example_loss, frequencies, params),
        "excluded_loss": excluded_loss(logits, example_loss, train, frequencies, params),
        "norm": weight_norm(params),
    }


def shares_of_power(weights: Callable, params: Any) -> jax.Array:
    """The share (p // 2,) of each frequency 1, ..., p // 2 in the power of weights(params), summed over all rows."""
    power = frequency_power(weights, params)
    power = jnp.sum(power.reshape(-1, power.shape[-1]), axis=0)[1:]
    return power / jnp.sum(power)


def _values(weights, params):
    check_floating("params", params)
    wanted = "a function params -> (..., p)"
    shaped("weights(params)", shapes_of("weights", weights, params, expected=wanted), "(..., p)")
    return weights(params)


def _mean_loss(example_loss, logits, sums):
    one = jax.ShapeDtypeStruct(logits.shape[1:], logits.dtype), jax.ShapeDtypeStruct((), sums.dtype)
    out = shapes_of("example_loss", example_loss, *one, expected="a function (logits (p,), sum) -> scalar")
    shaped("example_loss(logits, sum)", out, "()")
    return jnp.mean(jax.vmap(example_loss)(logits, sums))


def _power(values, waves):
    """Squared coefficients of the waves, summed with the weights waves (wave, frequency)."""
    squares = _product(values, jnp.asarray(_basis(len(waves)), values.dtype)) ** 2
    return _product(squares, jnp.asarray(waves, values.dtype))


def _all_logits(logits, params):
    """(p, p, p): first term, second term, output. The number of outputs says what p is."""
    check_floating("params", params)
    pair = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    one = shapes_of("logits", logits, params, pair, expected="a function (params, pairs (n, 2)) -> (n, p)")
    modulus = shaped("logits(params, pairs (1, 2))", one, "(1, p)", "floating-point numbers").shape[1]
    return logits(params, all_pairs(modulus)["pairs"]).reshape(modulus, modulus, modulus)


def _means_by_sum(full):
    """(sum, output): means over the p pairs of each sum."""
    modulus = len(full)
    first = np.arange(modulus)[:, None]
    return jnp.mean(full[first, (np.arange(modulus)[None, :] - first) % modulus], axis=0)


def _projection(frequencies, table):
    """(p, p): the orthogonal projection of functions of the residue on the waves of the chosen frequencies."""
    modulus = len(table)
    is_listed = isinstance(frequencies, list | tuple) and all(isinstance(each, bool | np.bool_) for each in frequencies)
    mask: Any = np.array(frequencies) if is_listed else frequencies
    is_array = hasattr(mask, "dtype")
    if not is_array or mask.dtype != bool or mask.shape != (modulus // 2 + 1,):
        got = f"{mask.dtype} of shape {mask.shape}" if is_array else type(mask).__name__
        raise ValueError(
            f"frequencies: expected a mask of {modulus // 2 + 1} booleans for modulus {modulus}, got {got}; "
            f"numpy.isin(numpy.arange({modulus // 2 + 1}), chosen)"
        )
    basis = jnp.asarray(_basis(modulus), table.dtype)
    chosen = _product(jnp.asarray(_waves_of(modulus), table.dtype), mask.astype(table.dtype))
    return _product(basis * chosen[None, :], basis.T)


def _basis(modulus):
    """(residue, wave), float64: the constant, then cosine and sine of each frequency (of p / 2 the cosine alone)."""
    waves = np.arange(modulus)
    frequency = (waves + 1) // 2
    turns = np.outer(np.arange(modulus), frequency) % modulus / modulus
    angles = 2 * np.pi * turns - np.pi / 2 * ((waves % 2 == 0) & (waves > 0))
    single = (frequency == 0) | (2 * frequency == modulus)
    return np.cos(angles) * np.sqrt(np.where(single, 1, 2) / modulus)


def _waves_of(modulus):
    """(wave, frequency): 1 where the wave has the frequency, else 0."""
    return (np.arange(1, modulus + 1)[:, None] // 2 == np.arange(modulus // 2 + 1)[None, :]).astype(float)


def _product(first, second):
    return jnp.matmul(first, second, precision="highest")
