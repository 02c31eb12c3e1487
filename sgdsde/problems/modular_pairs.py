"""The examples of modular addition: all pairs (m, n) of residues, their sums, and a random split into train and test.

A set of examples is {"pairs": (num_examples, 2) int32, "sums": (num_examples,) int32}, sums = (m + n) mod p.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial, tree_leaves, tree_map

from sgdsde.arguments import is_traced, number, shaped
from sgdsde.randomness import same_key

__all__ = ["all_pairs", "check_count", "cross_entropy", "decay_penalty", "residues", "split", "squared_error"]


def all_pairs(modulus: int) -> dict[str, np.ndarray]:
    """All p^2 examples, p = modulus; the pair (m, n) is row m p + n. NumPy arrays: nothing is put on a device."""
    check_count("modulus", modulus, least=3)
    pairs = np.indices((modulus, modulus), dtype=np.int32).reshape(2, -1).T
    return {"pairs": pairs, "sums": pairs.sum(axis=1, dtype=np.int32) % np.int32(modulus)}


def split(key: jax.Array, *, modulus: int, train_fraction: Any) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """(train, test) examples: floor(train_fraction p^2) of the pairs, drawn from the key, and all the others.

    Raises ValueError unless both have an example; train_fraction sets shapes and must be known, not traced.
    """
    check_count("modulus", modulus, least=3)
    if is_traced(train_fraction):
        raise TypeError(
            "train_fraction: expected a known number, got a traced one; it decides how many examples there are"
        )
    train_fraction = number("train_fraction", train_fraction, above=0.0)
    num_pairs = modulus**2
    num_train = int(np.floor(train_fraction * num_pairs + 1e-9))  # 0.29 * 100 is 28.999999999999996
    if not 1 <= num_train < num_pairs:
        raise ValueError(
            f"train_fraction: {train_fraction:g} of {num_pairs} pairs are {num_train} to train on; expected at least "
            "one, and one left to test"
        )
    places = jax.random.permutation(same_key(key), np.arange(num_pairs, dtype=np.int32))
    chosen = lambda places: tree_map(lambda leaf: jnp.asarray(leaf)[places], all_pairs(modulus))
    return chosen(places[:num_train]), chosen(places[num_train:])


def squared_error(logits: jax.Array, label: Any) -> jax.Array:
    """(1/p) sum_q (logits_q - [q = label])^2 of one example: the mean over the p outputs, no half (torch's MSELoss)."""
    logits, label = _checked(logits, label)
    target = (jnp.arange(logits.shape[0], dtype=label.dtype) == label).astype(logits.dtype)
    return jnp.mean((logits - target) ** 2)


def cross_entropy(logits: jax.Array, label: Any) -> jax.Array:
    """-log softmax(logits)_label of one example, natural logarithm.

    As log(1 + exp(z)), z = logsumexp of the *other* logits - the label's: a small loss keeps its digits and its
    gradient in float32, where log softmax knows only multiples of 1.2e-7 and training ends in spikes.
    """
    logits, label = _checked(logits, label)
    others = jnp.arange(logits.shape[0], dtype=label.dtype) != label
    return jax.nn.softplus(jax.nn.logsumexp(logits, where=others) - logits[label])


def decay_penalty(weight_decay: Any) -> Partial | None:
    """params -> weight_decay |params|^2 / 2 over all parameters, biases too; None for weight_decay None."""
    if weight_decay is None:
        return None
    return Partial(_half_square, number("weight_decay", weight_decay, at_least=0.0))


def residues(name: str, value: Any, shape: str, modulus: int) -> jax.Array:
    """Whole numbers of this shape. Raises TypeError or ValueError unless those known are from 0 to modulus - 1: JAX
    takes the nearest for others, in silence."""
    value = shaped(name, value, shape, "whole numbers")
    if not is_traced(value) and not np.isin(value, np.arange(modulus)).all():
        raise ValueError(f"{name}: expected residues from 0 to {modulus - 1}, got {np.min(value)} to {np.max(value)}")
    return jnp.asarray(value)


def check_count(name: str, count: Any, *, least: int) -> None:
    """Raise ValueError unless `count` is a whole number, at least `least`."""
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < least:
        raise ValueError(f"{name}: expected a whole number >= {least}, got {count!r}")


def _checked(logits, label):
    logits = shaped("logits", logits, "(p,)", "floating-point numbers")
    return logits, residues("label", label, "()", len(logits))


def _half_square(weight_decay, params):
    squares = [jnp.sum(leaf**2) for leaf in tree_leaves(params)]
    total = jnp.sum(jnp.stack(squares))
    return jnp.asarray(weight_decay, total.dtype) * total / 2
