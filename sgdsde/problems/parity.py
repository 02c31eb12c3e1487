"""Sparse parity: bits of which a few, multiplied, are the label; a network sees nothing for long, then everything.

    x in {-1, 1}^n,   label y = product of x_j over the relevant bits,   f(x) = u . ReLU(V^T x + a) + c,
    example_loss(params, (x, y)) = max(0, 1 - y f(x))                                           (hinge, factor one)

Parameters are {"hidden_weights": V (n, width), "hidden_biases": a (width,), "output_weights": u (width,),
"output_bias": c ()}; an example is {"inputs": x (n,), "labels": y ()}, of the floating-point type of the parameters.
Both constructors return `(problem, test_examples)`. For |f| < 1 the loss is linear in f: a batch whose margins are all
below one has the gradient of the correlation -y f.

Source: Barak, Edelman, Goel, Kakade, Malach, Zhang 2022 (2207.08799): n = 20 to 50, width 1000, fresh batches of 32.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from sgdsde.arguments import known, parts, shaped
from sgdsde.problem import Problem
from sgdsde.randomness import same_key

__all__ = ["complete_parity", "outputs", "parity_labels", "sparse_parity"]

MOST_BITS = 20
"""of a complete set of inputs: 2^20 of them"""
SHAPES = {
    "hidden_weights": "(num_bits, width)",
    "hidden_biases": "(width,)",
    "output_weights": "(width,)",
    "output_bias": "()",
}
"""of the parameters"""


def sparse_parity(
    key: jax.Array, *, num_bits: int, relevant: Sequence[int], width: int, num_examples: int, num_test_examples: int
) -> tuple[Problem, dict[str, jax.Array]]:
    """Random bits, a training set and an independent test set from one key; relevant: the places of the k bits.

    A finite set stands for fresh batches as long as num_examples exceeds what is drawn in a run; much smaller, the
    network can memorise it. Traceable in all but the counts. Raises ValueError naming the argument.
    """
    _check_counts(num_bits=num_bits, width=width, num_examples=num_examples, num_test_examples=num_test_examples)
    places(relevant, num_bits, at_least=1)
    train_key, test_key = jax.random.split(same_key(key))
    train, test = (
        _examples(jax.random.rademacher(own_key, (size, num_bits), float), relevant)
        for own_key, size in ((train_key, num_examples), (test_key, num_test_examples))
    )
    return _network(train, width), test


def complete_parity(*, num_bits: int, relevant: Sequence[int], width: int) -> tuple[Problem, dict[str, jax.Array]]:
    """All 2^num_bits inputs, num_bits <= 20, each once: the population itself, which is also the test set."""
    _check_counts(num_bits=num_bits, width=width)
    if num_bits > MOST_BITS:
        raise ValueError(
            f"num_bits: expected at most {MOST_BITS} for all 2^n inputs, got {num_bits}; use sparse_parity"
        )
    places(relevant, num_bits, at_least=1)
    bits = np.arange(2**num_bits)[:, None] >> np.arange(num_bits) & 1
    examples = _examples(jnp.asarray(1.0 - 2.0 * bits, float), relevant)
    return _network(examples, width), examples


def parity_labels(inputs: jax.Array, relevant: Sequence[int]) -> jax.Array:
    """The product of the relevant bits of inputs (..., num_bits): 1 or -1, in their precision. No bit: 1."""
    inputs = shaped("inputs", inputs, "(..., num_bits)")
    return jnp.prod(inputs[..., places(relevant, inputs.shape[-1])], axis=-1)


def outputs(params: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
    """f(x) of inputs (..., num_bits), in the shape of their leading axes; its sign is the answer."""
    params = parts("params", params, SHAPES)
    inputs = shaped("inputs", inputs, "(..., num_bits)", sizes={"num_bits": len(params["hidden_weights"])})
    hidden = jnp.matmul(inputs, params["hidden_weights"], precision="highest")
    biases = jnp.reshape(params["hidden_biases"], (1,) * (hidden.ndim - 1) + params["hidden_biases"].shape)
    return (
        jnp.matmul(jax.nn.relu(hidden + biases), params["output_weights"], precision="highest") + params["output_bias"]
    )


def places(relevant: Sequence[int], num_bits: int, *, at_least: int = 0) -> np.ndarray:
    """The places of the relevant bits. Raises TypeError or ValueError unless they are different whole numbers."""
    given = known("relevant", relevant)
    if given is None:
        raise TypeError("relevant: expected known places, got traced ones; hold them with observables.observer")
    fits = given.ndim == 1 and len(given) >= at_least and len(set(given)) == len(given)
    if not fits or not np.isin(given, np.arange(num_bits)).all():
        least = ", at least one" if at_least else ""
        raise ValueError(f"relevant: expected different places from 0 to {num_bits - 1}{least}, got {relevant!r}")
    return given.astype(int)


def _hinge(params, example):
    return jnp.maximum(0, 1 - example["labels"] * outputs(params, example["inputs"]))


def _network(examples, width):
    """Weights and biases start as in torch's linear layers, which the source uses: U(-1/sqrt(m), 1/sqrt(m)), m the
    number of inputs of the layer."""
    num_bits, dtype = examples["inputs"].shape[1], examples["inputs"].dtype
    zeros = {
        "hidden_weights": jnp.zeros((num_bits, width), dtype),
        "hidden_biases": jnp.zeros(width, dtype),
        "output_weights": jnp.zeros(width, dtype),
        "output_bias": jnp.zeros((), dtype),
    }
    return Problem(_hinge, examples, Partial(_uniform_start, zeros))


def _uniform_start(zeros, key):
    num_bits, width = zeros["hidden_weights"].shape
    keys = dict(zip(zeros, jax.random.split(key, len(zeros))))
    bounds = {name: (num_bits if name.startswith("hidden") else width) ** -0.5 for name in zeros}
    return {
        name: jax.random.uniform(keys[name], like.shape, like.dtype, -bounds[name], bounds[name])
        for name, like in zeros.items()
    }


def _examples(inputs, relevant):
    return {"inputs": inputs, "labels": parity_labels(inputs, relevant)}


def _check_counts(**counts):
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise ValueError(f"{name}: expected a whole number >= 1, got {count!r}")
