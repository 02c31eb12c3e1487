"""The one-layer transformer that learns modular addition by Fourier sums, as a flax module. Flax is imported when a
problem is built, not before."""

import functools
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from sgdsde.problem import Problem, check_problem
from sgdsde.problems.adapters import from_nnx, model_of
from sgdsde.problems.modular_pairs import check_count, cross_entropy, decay_penalty, split

__all__ = ["transformer", "transformer_logits"]


def transformer(
    key: jax.Array,
    *,
    modulus: int,
    num_embedding: int,
    num_heads: int,
    num_hidden: int,
    train_fraction: Any,
    weight_decay: Any,
) -> tuple[Problem, dict[str, jax.Array]]:
    """One layer of attention and one hidden ReLU layer, without layer norm, under cross entropy:
    `(problem, test_examples)`.

    Tokens (m, n, =), learned positions; x_j = E[token_j] + P[j], and at the last position

        y = x_2 + O sum_j softmax_j(q . k_j / sqrt(d_head)) v_j,    z = y + W_out^T ReLU(W_in^T y + b_in) + b_out

    with q = Q x_2, k_j = K x_j, v_j = V x_j in each head of size d_head = num_embedding / num_heads; logits U^T z over
    the p residues. Only the last position is computed: nothing else is read. params, d = num_embedding,
    N = num_hidden: {"embedding": (p + 1, d), "positions": (3, d), "queries", "keys", "values": (d, heads, d_head),
    "heads_output": (heads, d_head, d), "hidden": (d, N), "hidden_biases": (N,), "hidden_output": (N, d),
    "output_biases": (d,), "unembedding": (d, p)}. Row p of the embedding is the token "=".

    Start as in the source: every weight N(0, 1/d), the unembedding N(0, 1/p), biases 0. (Theirs has a logit for "="
    as well, and raises the learning rate over the first 10 steps.) weight_decay: of the penalty
    weight_decay |params|^2 / 2, or None. Source: Nanda, Chan, Lieberum, Smith, Steinhardt 2023 (2301.05217): p = 113,
    d = 128, 4 heads, N = 512, 30 % of the pairs, full batch AdamW of rate 0.001, decay 1, betas (0.9, 0.98).
    """
    for name, count in (("num_embedding", num_embedding), ("num_heads", num_heads), ("num_hidden", num_hidden)):
        check_count(name, count, least=1)
    if num_embedding % num_heads:
        raise ValueError(f"num_heads: expected a divisor of num_embedding = {num_embedding}, got {num_heads}")
    train, test = split(key, modulus=modulus, train_fraction=train_fraction)
    sizes = _Sizes(modulus, num_embedding, num_heads, num_hidden)
    return from_nnx(sizes, _loss, train, penalty=decay_penalty(weight_decay)), test


def transformer_logits(problem: Problem) -> Partial:
    """The logits of a `transformer` problem: a function (params, pairs (..., 2)) -> (..., p).

    Raises TypeError for a problem that no adapter made.
    """
    check_problem(problem)
    model_of(problem, problem.params_like)
    return Partial(_logits, problem)


def _logits(problem, params, pairs):
    return model_of(problem, params)(pairs)


def _loss(model, example):
    return cross_entropy(model(example["pairs"]), example["sums"])


@dataclass(frozen=True)
class _Sizes:
    """What makes the model from random streams; equal sizes make equal architectures, which compile once."""

    modulus: int
    num_embedding: int
    num_heads: int
    num_hidden: int

    def __call__(self, rngs):
        return _module()(self, rngs)


@functools.cache
def _module():
    from flax import nnx

    product = lambda subscripts, *factors: jnp.einsum(subscripts, *factors, precision="highest")

    class Transformer(nnx.Module):
        def __init__(self, sizes, rngs):
            p, d, hidden = sizes.modulus, sizes.num_embedding, sizes.num_hidden
            by_head = (sizes.num_heads, d // sizes.num_heads)
            shapes = {
                "embedding": (p + 1, d),
                "positions": (3, d),
                **dict.fromkeys(("queries", "keys", "values"), (d, *by_head)),
                "heads_output": (*by_head, d),
                "hidden": (d, hidden),
                "hidden_output": (hidden, d),
                "unembedding": (d, p),
            }
            ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
            # One draw for all: it compiles in a quarter of the time of nine.
            normals = jnp.split(jax.random.normal(rngs.params(), (ends[-1],)), ends[:-1])
            weights = {
                name: nnx.Param((p if name == "unembedding" else d) ** -0.5 * part.reshape(shapes[name]))
                for name, part in zip(shapes, normals)
            }
            self.embedding, self.positions = weights["embedding"], weights["positions"]
            self.queries, self.keys, self.values = weights["queries"], weights["keys"], weights["values"]
            self.heads_output, self.unembedding = weights["heads_output"], weights["unembedding"]
            self.hidden, self.hidden_output = weights["hidden"], weights["hidden_output"]
            self.hidden_biases = nnx.Param(jnp.zeros(hidden))
            self.output_biases = nnx.Param(jnp.zeros(d))

        def __call__(self, pairs):
            tokens, places = self.embedding[...], self.positions[...]
            last = tokens[-1] + places[-1]  # the same for all pairs, and so is its query
            terms = tokens[jnp.asarray(pairs)]
            terms = terms + jnp.broadcast_to(places[:2], terms.shape)
            query = product("d,dhk->hk", last, self.queries[...])
            looks = product("hk,dhk->dh", query, self.keys[...]) * query.shape[1] ** -0.5  # q . K x = (K^T q) . x
            own = product("d,dh->h", last, looks)
            scores = product("...jd,dh->...jh", terms, looks)
            own = jnp.broadcast_to(own, (*scores.shape[:-2], 1, own.shape[0]))
            shares = jax.nn.softmax(jnp.concatenate([scores, own], axis=-2), axis=-2)
            mixed = product("...jh,...jd->...hd", shares[..., :2, :], terms)
            mixed = mixed + product("...h,d->...hd", shares[..., 2, :], last)
            heads = product("...hd,dhk->...hk", mixed, self.values[...])
            stream = product("...hk,hkd->...d", heads, self.heads_output[...])
            stream = stream + jnp.broadcast_to(last, stream.shape)
            hidden = product("...d,dn->...n", stream, self.hidden[...])
            hidden = jax.nn.relu(hidden + jnp.broadcast_to(self.hidden_biases[...], hidden.shape))
            stream = stream + product("...n,nd->...d", hidden, self.hidden_output[...])
            stream = stream + jnp.broadcast_to(self.output_biases[...], stream.shape)
            return product("...d,dp->...p", stream, self.unembedding[...])

    return Transformer
