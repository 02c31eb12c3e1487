"""Modular addition: learn (m + n) mod p from some of the p^2 pairs. Networks memorise them, and generalise much later.

Builders: `quadratic`, `embedding_mlp`, `transformer`. Each takes a key (it draws which pairs are trained on; the
weights come from the problem's init) and returns `(problem, test_examples)`, examples
{"pairs": (num_examples, 2), "sums": (num_examples,)} of whole numbers. To each belong logits, functions
(params, pairs (n, 2)) -> (n, p): `quadratic_logits`, `embedding_mlp_logits(activation)`, `transformer_logits(problem)`.

Weight decay comes in two kinds, the same for plain gradient descent and different for Adam. As the builder's
weight_decay it is the penalty weight_decay |params|^2 / 2, part of the loss and of every gradient. Decoupled, leave it
out (None) and use `optimizer(problem, optax.adamw(learning_rate, weight_decay=...), ...)`, which adds
-learning_rate * weight_decay * params to the update, as torch's AdamW: multiplied by the learning rate, and not
rescaled by Adam.
"""

from sgdsde.problems.modular_networks import (
    analytic_params,
    embedding_mlp,
    embedding_mlp_logits,
    embedding_weights,
    neuron_weights,
    quadratic,
    quadratic_logits,
)
from sgdsde.problems.modular_pairs import all_pairs, cross_entropy, split, squared_error
from sgdsde.problems.modular_transformer import transformer, transformer_logits

__all__ = [
    "all_pairs",
    "analytic_params",
    "cross_entropy",
    "embedding_mlp",
    "embedding_mlp_logits",
    "embedding_weights",
    "neuron_weights",
    "quadratic",
    "quadratic_logits",
    "split",
    "squared_error",
    "transformer",
    "transformer_logits",
]
