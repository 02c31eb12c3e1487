"""Networks without attention for modular addition: quadratic, with weights known in closed form, and with an embedding.

Each builder returns `(problem, test_examples)`; see `modular_addition` for what they share.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from sgdsde.arguments import number, parts, shaped
from sgdsde.problem import Problem
from sgdsde.problems.modular_pairs import check_count, cross_entropy, decay_penalty, residues, split, squared_error
from sgdsde.pytrees import as_partial
from sgdsde.randomness import same_key
from sgdsde.tracing import shapes_of

__all__ = [
    "analytic_params",
    "embedding_mlp",
    "embedding_mlp_logits",
    "embedding_weights",
    "neuron_weights",
    "quadratic",
    "quadratic_logits",
]

QUADRATIC = {"first": "(p, N)", "second": "(p, N)", "output": "(N, p)"}
EMBEDDING = {"embedding": "(p, d)", "first": "(d, N)", "second": "(d, N)", "biases": "(N,)", "output": "(N, p)"}
TRANSFORMER = {"embedding": "(tokens, d)", "unembedding": "(d, p)"}
"""shapes of the parameters"""


def quadratic(
    key: jax.Array,
    *,
    modulus: int,
    num_hidden: int,
    train_fraction: Any,
    start_deviation: Any,
    weight_decay: Any,
) -> tuple[Problem, dict[str, jax.Array]]:
    """The quadratic network of Gromov, under a squared error: `(problem, test_examples)`.

        f(m, n) = V (W1 e_m + W2 e_n)^2,       example_loss = (1/p) sum_q (f_q(m, n) - [q = m + n mod p])^2

    e_m: unit vector of residue m; the square is taken neuron by neuron; p = modulus outputs, N = num_hidden neurons,
    no biases. params: {"first": W1^T (p, N), "second": W2^T (p, N), "output": V^T (N, p)}, all N(0, start_deviation^2)
    at the start. The error is the mean over outputs without a half, as torch's MSELoss.

    Gromov writes weights of order one and divides f by 2 p N: that network under gradient descent of rate r is this
    one with start_deviation (2 p N)^(-1/3) and rate r (2 p N)^(-2/3). Doshi et al. write f as here and start from
    0.5 / (2 N)^(1/3). weight_decay: of the penalty weight_decay |params|^2 / 2, or None for none.
    Source: Gromov 2023 (2301.02679); Doshi, Das, He, Gromov 2023 (2310.13061).
    """
    check_count("num_hidden", num_hidden, least=1)
    deviation = number("start_deviation", start_deviation, at_least=0.0)
    train, test = split(key, modulus=modulus, train_fraction=train_fraction)
    start = Partial(_QuadraticStart(modulus, num_hidden), deviation)
    return Problem(_quadratic_loss, train, start, decay_penalty(weight_decay)), test


def quadratic_logits(params: Any, pairs: Any) -> jax.Array:
    """f(m, n) of `quadratic` for pairs (..., 2) of residues: (..., p)."""
    params = parts("params", params, QUADRATIC)
    pairs = residues("pairs", pairs, "(..., 2)", len(params["first"]))
    hidden = params["first"][pairs[..., 0]] + params["second"][pairs[..., 1]]
    return jnp.matmul(hidden**2, params["output"], precision="highest")


def neuron_weights(params: Any) -> jax.Array:
    """The weights of `quadratic` as functions of the residue, (3, N, p): of each neuron those from the first term,
    from the second, and to the sum. What observables of Fourier powers look at."""
    params = parts("params", params, QUADRATIC)
    return jnp.stack([params["first"].T, params["second"].T, params["output"]])


def analytic_params(key: jax.Array, *, modulus: int, num_hidden: int) -> dict[str, jax.Array]:
    """Weights of `quadratic` in closed form: every neuron k a cosine of one frequency, with random phases.

        W1_km = a cos(2 pi s_k m/p + u_k),    W2_kn = a cos(2 pi s_k n/p + v_k),    a = (2/N)^(1/3)
        V_qk  = a cos(2 pi s_k q/p + u_k + v_k),       u_k, v_k uniform on the circle

    The frequencies s_k go round 1, ..., (p - 1)//2. The term whose phases cancel, (a^3 / 2) sum_k
    cos(2 pi s_k (m + n - q)/p), is 1 at q = m + n; all others have random phases. Hence, for odd p and N a multiple of
    (p - 1)/2, the squared error of the network over all pairs has, over the phases, the expectation

        4/N + 1/(p (p - 1)),

    exactly so for any phases at N = (p - 1)/2, one neuron a frequency. The accuracy is 100 % at p = 97, N = 500 and
    about 90 % at N = 50. Source: Gromov 2023 (2301.02679), whose frequencies run through 1, ..., N instead, multiples
    of p (no cosine at all) included.
    """
    check_count("modulus", modulus, least=3)
    check_count("num_hidden", num_hidden, least=1)
    frequencies = 1 + np.arange(num_hidden) % ((modulus - 1) // 2)
    turns = np.outer(frequencies, np.arange(modulus)) % modulus / modulus  # exact, so that float32 keeps its digits
    first, second = jax.random.uniform(same_key(key), (2, num_hidden, 1))
    angles = jnp.asarray(turns, first.dtype)
    amplitude = np.cbrt(2 / num_hidden).item()
    wave = lambda phase: amplitude * jnp.cos(2 * np.pi * (angles + phase))
    return {"first": wave(first).T, "second": wave(second).T, "output": wave(first + second)}


def embedding_mlp(
    key: jax.Array,
    *,
    modulus: int,
    num_embedding: int,
    num_hidden: int,
    activation: Callable,
    train_fraction: Any,
    weight_decay: Any,
) -> tuple[Problem, dict[str, jax.Array]]:
    """One hidden layer on learned embeddings of both terms, under cross entropy: `(problem, test_examples)`.

        f(m, n) = V^T act(W1^T E_m + W2^T E_n + b)

    params: {"embedding": E (p, d), "first": W1 (d, N), "second": W2 (d, N), "biases": b (N,), "output": V (N, p)} with
    d = num_embedding, N = num_hidden. activation: `jax.nn.relu`, `jax.nn.gelu` or one's own, elementwise; give the
    same function object again and nothing is compiled twice. Start as torch's layers: E_m ~ N(0, 1), the others
    uniform within +-1/sqrt(inputs of the layer). weight_decay: of the penalty weight_decay |params|^2 / 2, or None.

    A small network that groks on a CPU in a minute: p = 53, d = 12, N = 48, `jax.nn.gelu`, 40 % of the pairs, Adam of
    rate 0.005 on epochs of batches of 128 with a penalty of 2e-4 (in Adam's gradient, not decoupled), 20,000 steps.
    With `jax.nn.relu` it memorises as fast, and has not generalised by then.
    """
    check_count("num_embedding", num_embedding, least=1)
    check_count("num_hidden", num_hidden, least=1)
    loss = Partial(_embedding_loss, _checked_activation(activation))
    train, test = split(key, modulus=modulus, train_fraction=train_fraction)
    return Problem(loss, train, _EmbeddingStart(modulus, num_embedding, num_hidden), decay_penalty(weight_decay)), test


def embedding_mlp_logits(activation: Callable) -> Partial:
    """The logits of `embedding_mlp` with this activation: a function (params, pairs (..., 2)) -> (..., p)."""
    return Partial(_embedding_logits, _checked_activation(activation))


def embedding_weights(params: Any) -> jax.Array:
    """The residues' embedding as functions of the residue, (num_embedding, p), for `embedding_mlp` and `transformer`
    (whose token "=" is left out)."""
    last = "unembedding" if isinstance(params, Mapping) and "unembedding" in params else "output"
    params = parts("params", params, TRANSFORMER if last == "unembedding" else EMBEDDING)
    return params["embedding"][: params[last].shape[1]].T


def _checked_activation(activation):
    if not callable(activation):
        raise TypeError(f"activation: expected a function such as jax.nn.relu, got {activation!r}")
    out = shapes_of("activation", activation, jax.ShapeDtypeStruct((2,), float), expected="an elementwise function")
    shaped("activation(x) of two numbers x", out, "(2,)", "floating-point numbers")
    return as_partial(activation)


def _quadratic_loss(params, example):
    return squared_error(quadratic_logits(params, example["pairs"]), example["sums"])


def _embedding_logits(activation, params, pairs):
    params = parts("params", params, EMBEDDING)
    embedding = params["embedding"]
    pairs = residues("pairs", pairs, "(..., 2)", len(embedding))
    matmul = lambda inputs, weights: jnp.matmul(inputs, weights, precision="highest")
    hidden = matmul(embedding[pairs[..., 0]], params["first"]) + matmul(embedding[pairs[..., 1]], params["second"])
    biases = params["biases"].reshape((1,) * (hidden.ndim - 1) + (-1,))
    return matmul(activation(hidden + biases), params["output"])


def _embedding_loss(activation, params, example):
    return cross_entropy(_embedding_logits(activation, params, example["pairs"]), example["sums"])


@dataclass(frozen=True)
class _QuadraticStart:
    """init of `quadratic`: sizes are compiled, the deviation is a number."""

    modulus: int
    num_hidden: int

    def __call__(self, deviation, key):
        first, second, output = deviation * jax.random.normal(key, (3, self.modulus, self.num_hidden))
        return {"first": first, "second": second, "output": output.T}


@dataclass(frozen=True)
class _EmbeddingStart:
    """init of `embedding_mlp`."""

    modulus: int
    num_embedding: int
    num_hidden: int

    def __call__(self, key):
        p, d, hidden = self.modulus, self.num_embedding, self.num_hidden
        embedding_key, uniform_key = jax.random.split(key)
        shapes = {"first": (d, hidden), "second": (d, hidden), "biases": (hidden,), "output": (hidden, p)}
        ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
        uniforms = jnp.split(jax.random.uniform(uniform_key, (ends[-1],), minval=-1, maxval=1), ends[:-1])
        bounds = {name: (hidden if name == "output" else d) ** -0.5 for name in shapes}
        weights = {name: bounds[name] * part.reshape(shapes[name]) for name, part in zip(shapes, uniforms)}
        return {"embedding": jax.random.normal(embedding_key, (p, d)), **weights}
