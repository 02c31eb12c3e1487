"""Hidden progress on a sparse parity: what grows during the plateau, while loss and accuracy stand still.

Params are those of `problems/parity.py`; `relevant` are the places of the bits whose product is the label. The
accuracy is `observables.accuracy(parity.outputs, inputs, labels > 0, params)`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from sgdsde.arguments import parts
from sgdsde.problems.parity import SHAPES, outputs, parity_labels, places

__all__ = ["largest_movement", "parity_coefficient", "relevant_weight_share"]


def relevant_weight_share(relevant: Sequence[int], params: dict[str, jax.Array]) -> jax.Array:
    """The part of the hidden weights' sum of squares that sits on the relevant bits: about k/n at a random start, 1 for
    a network that looks at nothing else. NaN if all hidden weights are zero."""
    squares = jnp.sum(_weights("params", params) ** 2, axis=1)
    return jnp.sum(squares[places(relevant, len(squares))]) / jnp.sum(squares)


def parity_coefficient(relevant: Sequence[int], inputs: jax.Array, params: dict[str, jax.Array]) -> jax.Array:
    """The network's Fourier coefficient at the relevant set, mean over inputs (m, n) of f(x) prod_(j relevant) x_j.

    Exact if the inputs are all 2^n; over a random sample its standard error is std(f)/sqrt(m). It is 0 for a network
    that knows nothing of the parity, and the answer is right everywhere only if it exceeds 0.
    """
    return jnp.mean(outputs(params, inputs) * parity_labels(inputs, relevant))


def largest_movement(start: dict[str, Any], params: dict[str, jax.Array]) -> jax.Array:
    """max |V - V_0| over all hidden weights, V_0 those of `start`: the progress measure of Barak et al. 2022
    (2207.08799), which needs no knowledge of the relevant bits."""
    moved, first = _weights("params", params), _weights("start", start)
    if moved.shape != first.shape:
        raise ValueError(f"start: expected hidden_weights of shape {moved.shape} as in params, got {first.shape}")
    return jnp.max(jnp.abs(moved - first))


def _weights(name, params):
    return parts(name, params, SHAPES)["hidden_weights"]
