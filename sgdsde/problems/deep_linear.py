"""Deep linear networks f(x) = W_N ... W_1 x, taught by a linear teacher: layers multiply, so that learning is not
linear, yet every loss is a quadratic of the product.

    example_loss(params, (x, y)) = |y - W_N ... W_1 x|^2 / 2                                        (**with the half**)

params is the tuple (W_1, ..., W_N), the first layer first; W_l has shape (widths[l], widths[l - 1]), widths[0] inputs
and widths[N] outputs. An example is {"inputs": x (d,), "targets": y (m,)}. The precision is that of the arrays given.

A teacher y = M x has modes M = sum_i s_i left_i right_i^T; the strength of mode i in a network is
left_i^T W_N ... W_1 right_i, which `observables.mode_strengths` reads and `predictions.mode_strength` predicts. With
mean x x^T = I the modes of a balanced start do not mix, and the prediction holds for the finite sum exactly.
Source: Saxe, McClelland, Ganguli 2014 (1312.6120).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from sgdsde.arguments import is_traced, known, number, precision
from sgdsde.problem import Problem
from sgdsde.problems.linear_layers import (
    Teacher,
    balanced_bases,
    balanced_start,
    check_count,
    check_teacher,
    matmul,
    product,
    random_start,
    small_start,
    teacher,
)
from sgdsde.randomness import same_key
from sgdsde.tracing import shapes_of

__all__ = [
    "Teacher",
    "balanced_bases",
    "balanced_start",
    "linear_network",
    "product",
    "random_start",
    "small_start",
    "student",
    "teacher",
]


def student(
    key: jax.Array,
    teacher: Teacher,
    *,
    start: Callable,
    num_examples: int,
    num_test_examples: int,
    label_variance: Any,
    is_whitened: bool,
) -> tuple[Problem, dict[str, jax.Array]]:
    """A deep linear network that learns from a teacher: `(problem, test_examples)`, the problem a `linear_network`.

    Inputs x ~ N(0, I_d), targets y = M x + N(0, label_variance I_m). start(key) -> params: `balanced_start`,
    `small_start`, `random_start` or one's own. is_whitened: the training inputs, as one set, are multiplied by
    (X^T X / n)^(-1/2), so that mean x x^T = I to rounding; needs num_examples >= d. Test examples are a second sample,
    never whitened. Without label noise the noise factor has only d (d + 1) / 2 columns. Traceable in everything but
    the counts. Raises ValueError, or TypeError for two precisions, naming the argument.
    """
    check_teacher(teacher)
    variance = number("label_variance", label_variance, at_least=0.0)
    if not isinstance(is_whitened, bool | np.bool_):
        raise TypeError(f"is_whitened: expected True or False, got {is_whitened!r}")
    least, why = (len(teacher.right), ", the number of inputs to be whitened") if is_whitened else (1, "")
    check_count("num_examples", num_examples, least=least, why=why)
    check_count("num_test_examples", num_test_examples, least=1)
    train_key, test_key = jax.random.split(same_key(key))
    matrix = teacher.matrix
    train = _sample(train_key, matrix, variance, num_examples=num_examples, is_whitened=is_whitened)
    test = _sample(test_key, matrix, variance, num_examples=num_test_examples, is_whitened=False)
    is_exact = not is_traced(variance) and float(variance) == 0
    return _network(**train, start=start, fit=matrix if is_exact else None), test


def linear_network(inputs: Any, targets: Any, *, start: Callable) -> Problem:
    """A deep linear network on any data: inputs (n, d), targets (n, m); start(key) -> (W_1, ..., W_N).

    With more examples than inputs, mean_loss is the quadratic of the product P = W_N ... W_1 about the least-squares
    solution P*,

        tr[(P - P*) A (P - P*)^T] / 2 + its residual loss,    A = mean x x^T:

    a full gradient costs d^2 m however many examples there are, and no digits are lost near the minimum. noise_factor
    is exact as well: example gradients of P are (P - P*) x x^T - r x^T, r the least-squares residual, a linear map of
    the products x_a x_b and r_c x_a, whose covariance over the examples has a factor of at most
    d (d + 1) / 2 + m d columns. It is left out where it would hold more numbers than the examples do.
    Raises ValueError, or TypeError for two precisions, naming the argument.
    """
    return _network(inputs, targets, start=start, fit=None)


def _network(inputs, targets, *, start, fit):
    """fit (m, d): the least-squares solution where it is known to leave no residual, else None."""
    dtype = precision(inputs=inputs, targets=targets)
    known("inputs", inputs)
    known("targets", targets)
    inputs, targets = jnp.asarray(inputs, dtype), jnp.asarray(targets, dtype)
    if inputs.ndim != 2 or 0 in inputs.shape:
        raise ValueError(f"inputs: expected shape (num_examples, d), got {inputs.shape}")
    if targets.ndim != 2 or len(targets) != len(inputs) or 0 in targets.shape:
        raise ValueError(f"targets: expected shape ({len(inputs)}, m), one row for each input, got {targets.shape}")
    size = _checked_size(start, inputs, targets)
    mean_loss = noise_factor = None
    (n, d), m = inputs.shape, targets.shape[1]
    if n > d:
        fit, second_moment, residuals = _least_squares(inputs, targets, fit)
        residual_loss = jnp.asarray(0 if residuals is None else (residuals**2).sum(axis=1).mean() / 2, dtype)
        mean_loss = Partial(_quadratic_about, fit, second_moment, residual_loss)
        num_columns = min(n, d * (d + 1) // 2 + (0 if residuals is None else m * d))
        if size * num_columns <= inputs.size + targets.size:
            noise_factor = Partial(_noise_factor, fit, *_moments_factor(inputs, residuals))
    return Problem(
        example_loss=_half_squared_error,
        examples={"inputs": inputs, "targets": targets},
        init=start,
        mean_loss=mean_loss,
        noise_factor=noise_factor,
    )


def _half_squared_error(params, example):
    """The product comes first: over a minibatch it is computed once, and an example costs d m."""
    residual = matmul(product(params), example["inputs"]) - example["targets"]
    return jnp.sum(residual**2) / 2


def _quadratic_about(fit, second_moment, residual_loss, params):
    away = product(params) - fit
    return jnp.sum(away * matmul(away, second_moment)) / 2 + residual_loss


def _noise_factor(fit, inputs_factor, residuals_factor, params):
    """The columns (P - P*) X_k - E_k of a factor for the product's gradient, carried back to the layers."""
    value, pull_back = jax.vjp(product, params)
    columns = jnp.einsum("ab,bck->ack", value - fit, inputs_factor, precision="highest")
    if residuals_factor is not None:
        columns = columns - residuals_factor
    return jax.vmap(pull_back, in_axes=-1, out_axes=-1)(columns)[0]


def _least_squares(inputs, targets, fit):
    """P* (m, d), A = mean x x^T, and the residuals y - P* x (n, m), None where they are rounding; what is known is
    computed in float64 on the host, so that float32 keeps its digits."""
    is_known, is_exact = not is_traced((inputs, targets)), fit is not None
    x, y = (np.asarray(array, np.float64) for array in (inputs, targets)) if is_known else (inputs, targets)
    with jax.default_matmul_precision("highest"):
        fit = fit if is_exact else (np if is_known else jnp).linalg.lstsq(x, y)[0].T
        residuals, second_moment = None if is_exact else y - x @ fit.T, x.T @ x / len(x)
    if is_known and residuals is not None:
        rounding = 100 * float(jnp.finfo(inputs.dtype).eps) * np.abs(y).max()
        residuals = None if np.abs(residuals).max() <= rounding else residuals
    return jnp.asarray(fit, inputs.dtype), jnp.asarray(second_moment, inputs.dtype), residuals


def _moments_factor(inputs, residuals):
    """X (d, d, r) and E (m, d, r), None without residuals: over k the products of their entries sum to the covariance
    over the examples (divided by n) of x x^T and residual x^T. By QR, which needs no common scale of the two."""
    is_known = not is_traced((inputs, residuals))
    module, x = (np, np.asarray(inputs, np.float64)) if is_known else (jnp, inputs)
    (n, d), (rows, columns) = x.shape, np.triu_indices(x.shape[1])
    features = x[:, rows] * x[:, columns]
    if residuals is not None:
        features = module.concatenate([features, (residuals[:, :, None] * x[:, None, :]).reshape(n, -1)], axis=1)
    centred = (features - features.mean(axis=0, keepdims=True)) / np.sqrt(n).item()
    factor = jnp.asarray(module.linalg.qr(centred, mode="r").T, inputs.dtype)
    place = np.zeros((d, d), int)
    place[rows, columns] = place[columns, rows] = np.arange(len(rows))
    return factor[place], None if residuals is None else factor[len(rows) :].reshape(-1, d, factor.shape[1])


@functools.partial(jax.jit, static_argnames=("num_examples", "is_whitened"))
def _sample(key, matrix, variance, *, num_examples, is_whitened):
    input_key, label_key = jax.random.split(key)
    inputs = jax.random.normal(input_key, (num_examples, matrix.shape[1]), matrix.dtype)
    for _ in range(2 if is_whitened else 0):  # the second time for the rounding of the first
        values, vectors = jnp.linalg.eigh(matmul(inputs.T, inputs) / num_examples)
        inputs = matmul(inputs, matmul(vectors / jnp.sqrt(values)[None, :], vectors.T))
    noise = jax.random.normal(label_key, (num_examples, matrix.shape[0]), matrix.dtype)
    targets = matmul(inputs, matrix.T) + jnp.sqrt(jnp.asarray(variance, matrix.dtype)) * noise
    return {"inputs": inputs, "targets": targets}


def _checked_size(start, inputs, targets):
    """The number of parameters of a start. Raises TypeError or ValueError unless its layers map inputs to targets."""
    if not callable(start):
        raise TypeError(f"start: expected a function key -> (W_1, ..., W_N), got {type(start).__name__}")
    key = jax.eval_shape(lambda: jax.random.key(0))
    layers = shapes_of("start", start, key, expected="a function key -> (W_1, ..., W_N)")
    if not isinstance(layers, tuple | list) or not layers or any(getattr(layer, "ndim", 0) != 2 for layer in layers):
        raise TypeError("start: expected a function key -> (W_1, ..., W_N), a tuple of matrices")
    ends = [inputs.shape[1], *(layer.shape[0] for layer in layers)]
    starts = [layer.shape[1] for layer in layers]
    if starts != ends[:-1] or ends[-1] != targets.shape[1]:
        raise ValueError(
            f"start: expected layers W_l of shape (widths[l], widths[l - 1]) from {inputs.shape[1]} inputs to "
            f"{targets.shape[1]} outputs, got {[layer.shape for layer in layers]}"
        )
    if {layer.dtype for layer in layers} != {inputs.dtype}:
        raise TypeError(f"start: expected {inputs.dtype} layers as the inputs are, got {layers[0].dtype}; pass dtype")
    return sum(layer.size for layer in layers)
