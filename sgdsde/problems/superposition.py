"""The toy model of superposition: more features than hidden dimensions, stored at the price of interference.

    f(x) = ReLU(W^T W x + b),      example_loss(params, x) = sum_j importance_j (x_j - f_j(x))^2      (**no half**)

Parameters are {"weights": W (r, c), "biases": b (c,)}, r = num_hidden, c = num_features; an example is
{"inputs": x (c,)}. `one_hot` and `sparse` return `(problem, test_examples)`: two independent samples of one
population. Every problem starts from normal weights of standard deviation start_deviation and biases of zero, which
leaves every feature alive.

With r = 2 and one-hot features the regular polygons that the columns of W may form are critical points of the
population's loss: `predictions.superposition_polygon` says which, `polygon` makes them.
Source: Elhage et al. 2022 (2209.10652); Chen et al. 2023 (2310.06301), who study the one-hot case.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from sgdsde.arguments import known, number, parts, precision, shaped, vector
from sgdsde.problem import Problem
from sgdsde.randomness import same_key

__all__ = ["autoencoder", "one_hot", "one_hot_grid", "polygon", "population_loss", "sparse", "toy_model"]

SHAPES = {"weights": "(num_hidden, num_features)", "biases": "(num_features,)"}
"""of the parameters"""


def one_hot(
    key: jax.Array,
    *,
    num_features: int,
    num_hidden: int,
    num_examples: int,
    num_test_examples: int,
    start_deviation: Any,
) -> tuple[Problem, dict[str, jax.Array]]:
    """One feature at a time: x = t e_i, i uniform among the features, t ~ U[0, 1); every importance is 1.

    mean_loss is the sample's own, exactly: of the examples of one feature, those that switch an output on lie on one
    side of a threshold, so that sums over sorted values replace passes over the examples (c^2 look-ups a gradient).
    `population_loss` is its limit for many examples. Traceable in all but the counts. Raises ValueError naming the
    argument.
    """
    _check_counts(num_features=num_features, num_examples=num_examples, num_test_examples=num_test_examples)
    train_key, test_key = jax.random.split(same_key(key))
    train = _one_hot_sample(train_key, num_examples, num_features)
    test = _one_hot_sample(test_key, num_test_examples, num_features)
    return _one_hot_problem(*train, num_features, num_hidden, start_deviation), {"inputs": _spread(*test, num_features)}


def one_hot_grid(*, num_features: int, num_hidden: int, num_values: int, start_deviation: Any) -> Problem:
    """`one_hot` with every feature at the values (m + 1/2)/num_values instead of random ones: no feature differs from
    another, so that polygons stay critical, and the mean loss is `population_loss` up to O(1/num_values^2)."""
    _check_counts(num_features=num_features, num_values=num_values)
    features = jnp.repeat(jnp.arange(num_features), num_values)
    values = jnp.asarray(np.tile((np.arange(num_values) + 0.5) / num_values, num_features), float)
    return _one_hot_problem(features, values, num_features, num_hidden, start_deviation)


def sparse(
    key: jax.Array,
    *,
    num_hidden: int,
    num_examples: int,
    num_test_examples: int,
    probability: Any,
    importance: Any,
    start_deviation: Any,
) -> tuple[Problem, dict[str, jax.Array]]:
    """Features that are on independently: x_j ~ U[0, 1) with this probability, else 0.

    importance: numbers >= 0, one a feature; its precision is the problem's. Elhage et al. call 1 - probability the
    sparsity, and let the importance fall geometrically. Traceable in all but the counts. Raises ValueError naming the
    argument.
    """
    _check_counts(num_examples=num_examples, num_test_examples=num_test_examples)
    probability = number("probability", probability, at_least=0.0, at_most=1.0)
    importance = vector("importance", importance, precision(importance=importance), at_least=0.0)
    if not len(importance):
        raise ValueError("importance: expected one number a feature, at least one, got none")
    train_key, test_key = jax.random.split(same_key(key))
    train = _sparse_sample(train_key, num_examples, importance, probability)
    test = _sparse_sample(test_key, num_test_examples, importance, probability)
    problem = toy_model(train, num_hidden=num_hidden, importance=importance, start_deviation=start_deviation)
    return problem, {"inputs": test}


def toy_model(inputs: Any, *, num_hidden: int, importance: Any, start_deviation: Any) -> Problem:
    """The model on inputs of one's own, (num_examples, num_features); importance and the rest as for `sparse`.

    The precision is that of the arrays given. Raises ValueError, or TypeError for two precisions, naming the argument.
    """
    dtype = precision(inputs=inputs, importance=importance)
    known("inputs", inputs)
    inputs = jnp.asarray(inputs, dtype)
    if inputs.ndim != 2 or 0 in inputs.shape:
        raise ValueError(f"inputs: expected shape (num_examples, num_features), got {inputs.shape}")
    importance = vector("importance", importance, dtype, at_least=0.0)
    if importance.shape != inputs.shape[1:]:
        raise ValueError(f"importance: expected {inputs.shape[1]} numbers, one a feature, got {importance.shape[0]}")
    init = _random_start(inputs.shape[1], num_hidden, start_deviation, dtype)
    return Problem(Partial(_error, importance), {"inputs": inputs}, init)


def autoencoder(params: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
    """f(x) = ReLU(W^T W x + b) of inputs (..., num_features), in their shape."""
    weights, biases = parts("params", params, SHAPES).values()
    inputs = shaped("inputs", inputs, "(..., num_features)", sizes={"num_features": len(biases)})
    hidden = jnp.matmul(inputs, weights.T, precision="highest")
    response = jnp.matmul(hidden, weights, precision="highest")
    return jax.nn.relu(response + jnp.reshape(biases, (1,) * (response.ndim - 1) + biases.shape))


def population_loss(params: dict[str, jax.Array]) -> jax.Array:
    """The expected example loss of `one_hot`, exactly, with G = W^T W:

        L = (1/c) sum_ij integral_0^1 (t delta_ij - (t G_ij + b_j)_+)^2 dt.

    Each integral is a cubic of the values b_j and G_ij + b_j at the ends, over a slope that is at least as large as
    they are: float32 loses no digits. Traceable, with a continuous gradient; any number of hidden dimensions.
    """
    return _population_loss(*parts("params", params, SHAPES).values())


@jax.jit
def _population_loss(weights, biases):
    slopes = jnp.matmul(weights.T, weights, precision="highest")
    first = jnp.broadcast_to(biases[None, :], slopes.shape)
    last = slopes + first
    products = _integral_of_product(jnp.diagonal(first), jnp.diagonal(last))
    return (jnp.sum(_integral_of_square(first, last)) - 2 * jnp.sum(products)) / len(biases) + 1 / 3


def polygon(*, num_features: int, num_vertices: int, length: Any, bias: Any, other_biases: Any) -> dict[str, jax.Array]:
    """Parameters (r = 2) whose first k = num_vertices columns form a regular polygon, W_i = length (cos 2 pi i/k,
    sin 2 pi i/k), with the bias `bias` each; the other columns are zero and have other_biases (num_features - k,).

    A start for `simulate`. Lengths and biases of critical points: `predictions.superposition_polygon`. Raises
    ValueError, or TypeError for two precisions, naming the argument.
    """
    _check_counts(num_features=num_features, num_vertices=num_vertices)
    if num_vertices > num_features:
        raise ValueError(f"num_vertices: expected at most num_features = {num_features}, got {num_vertices}")
    length, bias = number("length", length, at_least=0.0), number("bias", bias)
    dtype = precision(other_biases=other_biases)
    other_biases = vector("other_biases", other_biases, dtype)
    if len(other_biases) != num_features - num_vertices:
        raise ValueError(f"other_biases: expected {num_features - num_vertices} numbers, got {len(other_biases)}")
    angles = 2 * np.pi * np.arange(num_vertices) / num_vertices
    vertices = jnp.asarray(length, dtype) * jnp.asarray(np.stack([np.cos(angles), np.sin(angles)]), dtype)
    return {
        "weights": jnp.pad(vertices, ((0, 0), (0, len(other_biases)))),
        "biases": jnp.concatenate([jnp.full(num_vertices, bias, dtype), other_biases]),
    }


def _error(importance, params, example):
    inputs = example["inputs"]
    return jnp.sum(importance * (inputs - autoencoder(params, inputs)) ** 2)


def _random_start(num_features, num_hidden, deviation, dtype):
    _check_counts(num_hidden=num_hidden)
    deviation = number("start_deviation", deviation, at_least=0.0)
    zeros = {"weights": jnp.zeros((num_hidden, num_features), dtype), "biases": jnp.zeros(num_features, dtype)}
    return Partial(_normal_weights, deviation, zeros)


def _normal_weights(deviation, zeros, key):
    like = zeros["weights"]
    return zeros | {"weights": jnp.asarray(deviation, like.dtype) * jax.random.normal(key, like.shape, like.dtype)}


def _one_hot_sample(key, num_examples, num_features):
    feature_key, value_key = jax.random.split(key)
    features = jax.random.randint(feature_key, (num_examples,), 0, num_features)
    return features, jax.random.uniform(value_key, (num_examples,))


def _one_hot_problem(features, values, num_features, num_hidden, deviation):
    init = _random_start(num_features, num_hidden, deviation, values.dtype)
    example_loss = Partial(_error, jnp.ones(num_features, values.dtype))
    mean_loss = Partial(_sample_mean, *_running_sums(features, values, num_features))
    return Problem(example_loss, {"inputs": _spread(features, values, num_features)}, init, mean_loss=mean_loss)


def _spread(features, values, num_features):
    return jnp.where(features[:, None] == jnp.arange(num_features)[None, :], values[:, None], 0)


def _sparse_sample(key, num_examples, importance, probability):
    switch_key, value_key = jax.random.split(key)
    shape = (num_examples, *importance.shape)
    values = jax.random.uniform(value_key, shape, importance.dtype)
    return jnp.where(jax.random.bernoulli(switch_key, probability, shape), values, 0)


def _running_sums(features, values, num_features):
    """The values of each feature in order (c, n), infinity behind them, and the sums of 1, t and t^2 over the first m
    of them, m = 0, ..., n: (c, n + 1, 3)."""
    values = jnp.sort(jnp.where(features[None, :] == jnp.arange(num_features)[:, None], values[None, :], jnp.inf))
    is_there = jnp.isfinite(values)
    there = jnp.where(is_there, values, 0)
    powers = jnp.stack([is_there.astype(values.dtype), there, there**2], axis=-1)
    return values, jnp.pad(jnp.cumsum(powers, axis=1), ((0, 0), (1, 0), (0, 0)))


def _sample_mean(values, sums, params):
    """The mean of |x - f(x)|^2 over a one-hot sample. Of the examples of feature i, output j is on for those with
    t G_ij + b_j > 0, above or below t = -b_j/G_ij; the loss is continuous there, so the threshold has no gradient."""
    weights, biases = params["weights"], params["biases"]
    slopes = jnp.matmul(weights.T, weights, precision="highest")
    offsets = jnp.broadcast_to(biases[None, :], slopes.shape)
    is_flat = slopes == 0
    everywhere_or_nowhere = jnp.where(offsets > 0, -jnp.inf, jnp.inf).astype(slopes.dtype)
    threshold = jnp.where(is_flat, everywhere_or_nowhere, -offsets / jnp.where(is_flat, 1, slopes))
    rank = jax.vmap(jnp.searchsorted)(values, jax.lax.stop_gradient(threshold))
    below, whole = jnp.take_along_axis(sums, rank[:, :, None], axis=1), sums[:, -1:, :]
    count, first, second = jnp.moveaxis(jnp.where((slopes < 0)[:, :, None], below, whole - below), -1, 0)
    squares = slopes**2 * second + 2 * slopes * offsets * first + offsets**2 * count
    products = jnp.diagonal(slopes * second + offsets * first)
    num_examples, sum_of_squares = jnp.sum(whole[:, 0, 0]), jnp.sum(whole[:, 0, 2])
    return (jnp.sum(squares) - 2 * jnp.sum(products) + sum_of_squares) / num_examples


def _integral_of_square(first, last):
    """integral_0^1 u_+^2 dt of the line u from `first` at t = 0 to `last` at t = 1."""
    crosses = first * last < 0
    crossing = jnp.maximum(first, last) ** 3 / jnp.where(crosses, jnp.abs(last - first), 1)
    inside = jnp.where((first >= 0) & (last >= 0), first**2 + first * last + last**2, 0)
    return jnp.where(crosses, crossing, inside) / 3


def _integral_of_product(first, last):
    """integral_0^1 t u_+ dt of the same line."""
    crosses = first * last < 0
    slope = jnp.where(crosses, jnp.abs(last - first), 1)
    rising = last**2 / slope * (1 / 2 - last / slope / 6)
    falling = first**3 / slope**2 / 6
    inside = jnp.where((first >= 0) & (last >= 0), first / 6 + last / 3, 0)
    return jnp.where(crosses, jnp.where(last > first, rising, falling), inside)


def _check_counts(**counts):
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise ValueError(f"{name}: expected a whole number >= 1, got {count!r}")
