"""A flax.nnx model as a Problem."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_leaves, tree_leaves_with_path, tree_structure, tree_unflatten

from sgdsde.problem import Problem
from sgdsde.problems.adapters.models import (
    STATE_REFUSED,
    adapted,
    as_arguments,
    draws_numbers,
    is_hashable,
    made_constants,
)
from sgdsde.pytrees import as_partial

__all__ = ["from_nnx"]


def from_nnx(
    make_model: Callable,
    example_loss: Callable,
    examples: Any,
    *,
    penalty: Callable | None = None,
    batch_loss: Callable | None = None,
    dropout_key: Any = None,
    num_masks: int = 1,
    trained: Any = None,
) -> Problem:
    """The problem (1/n) sum_i example_loss(model, example_i) + penalty(params) of a flax.nnx model.

    make_model(rngs) -> nnx.Module, rngs an nnx.Rngs: called once abstractly for the structure, and once for each chain
    that starts, with a key of its own. Give the same function object again and nothing is compiled twice (functions
    the model holds count by identity too: `jax.nn.relu`, not a lambda).
    example_loss(model, example) -> scalar: one example, without a batch axis.
    examples: a pytree of arrays with the leading axis num_examples.
    penalty(params) -> scalar: full-batch term of the plain nested dictionary of parameters, such as weight decay.
    batch_loss(model, examples) -> scalar: the loss as it was written for batches; it is only compared with the mean of
        example_loss, at a test point, and refused where it differs.
    dropout_key: needed by a model that draws random numbers, and refused without one. The mask is then part of the
        example: each example occurs num_masks times, each time with a mask drawn beforehand, so that the loss stays a
        finite sum of num_examples x num_masks terms, and SGD's noise exact; many masks approach fresh ones.
    trained: a filter of nnx for the variables that are parameters; None means nnx.Param. All other arrays of the model
        are constants, the same for all chains.

    Raises TypeError or ValueError, before anything is computed, for a model whose state changes when it runs
    (BatchNorm in training mode: examples interact) and for what else cannot be meant; `model_of(problem, params)`
    gives the model back.
    """
    from flax import nnx

    if isinstance(make_model, nnx.Module) or not callable(make_model):
        raise TypeError(
            f"from_nnx: make_model: expected a function nnx.Rngs -> nnx.Module, got {type(make_model).__name__}"
            "; give the function that makes the model, so that every chain has a start of its own"
        )
    example_loss, examples = as_arguments("from_nnx", example_loss, examples)
    make_model, trained = as_partial(make_model), _filter(trained)
    (params, keys, counts, rest), graphdef = _abstract(make_model, trained)
    if not tree_leaves(params):
        raise ValueError("from_nnx: the model has nothing to train: no nnx.Param, or none that `trained` takes")
    constants = {}
    if not is_hashable(graphdef):  # under a trace nnx takes a plain array among a model's attributes for a static one
        graphdef = _split(make_model, trained, jax.random.key(0))[0]
        rest = None
    if rest is None or tree_leaves(rest):
        constants = made_constants("from_nnx", lambda key: _split(make_model, trained, key)[1][3])
    if not tree_leaves(params):
        raise ValueError(
            "from_nnx: the model has nothing to train: no nnx.Param, or none that the filter `trained` takes"
        )
    network = _Nnx(graphdef, trained, _shapes(keys), _shapes(counts))
    return adapted(
        "from_nnx",
        network,
        (make_model,),
        constants,
        example_loss,
        examples,
        penalty=penalty,
        batch_loss=batch_loss,
        dropout_key=dropout_key,
        num_masks=num_masks,
    )


@dataclass(frozen=True)
class _Nnx:
    """graphdef; the filter of what is trained; structures and shapes of the random streams' keys and counts."""

    graphdef: Any
    trained: Any
    keys: tuple
    counts: tuple

    def start(self, make_model, key):
        from flax import nnx

        return nnx.to_pure_dict(nnx.state(make_model(nnx.Rngs(key)), self.trained))

    def model(self, params, constants, key):
        from flax import nnx

        # A stream of its own for each layer: with one key for all, equal layers would have equal masks.
        key = jax.random.key(0) if key is None else key
        structure, shapes = self.keys
        streams = [jax.random.fold_in(key, place) for place in range(len(shapes))]
        streams = [jax.random.split(k, shape) if shape else k for k, shape in zip(streams, shapes, strict=True)]
        zeros = [jnp.zeros(shape, jnp.uint32) for shape in self.counts[1]]
        streams, zeros = tree_unflatten(structure, streams), tree_unflatten(self.counts[0], zeros)
        return nnx.merge(self.graphdef, params, streams, zeros, constants)

    def loss(self, example_loss, params, constants, example, key):
        return example_loss(self.model(params, constants, key), example)

    def traced(self, example_loss, params, constants, example, key):
        from flax import nnx

        changed, drawn = [], []

        def watched(params, constants, example, key):
            model = self.model(params, constants, key)
            before = _leaves(nnx.state(model, nnx.Not(nnx.RngState))), _leaves(nnx.state(model, nnx.RngCount))
            value = example_loss(model, example)
            after = _leaves(nnx.state(model))
            for seen, found in zip(before, (changed, drawn), strict=True):
                found.extend(path for path, leaf in seen.items() if after.get(path) is not leaf)
            return value

        jaxpr = jax.make_jaxpr(watched)(params, constants, example, key)
        if changed:
            raise ValueError(
                f"from_nnx: the model changes when it runs ({', '.join(changed[:4])}): {STATE_REFUSED} "
                "(model.eval() in make_model)"
            )
        return draws_numbers(jaxpr) and (key is not None or bool(drawn))

    def evaluated(self, model):
        model.eval()
        return model


def _split(make_model, trained, key):
    from flax import nnx

    graphdef, *states = nnx.split(make_model(nnx.Rngs(key)), trained, nnx.RngKey, nnx.RngCount, ...)
    return graphdef, [nnx.to_pure_dict(state) for state in states]


def _abstract(make_model, trained):
    """The structure and the states' shapes, without arrays."""
    from flax import nnx

    found = []

    def split(key):
        model = make_model(nnx.Rngs(key))
        if not isinstance(model, nnx.Module):
            raise TypeError(f"from_nnx: make_model: expected it to return an nnx.Module, got {type(model).__name__}")
        graphdef, *states = nnx.split(model, trained, nnx.RngKey, nnx.RngCount, ...)
        found.append(graphdef)
        return [nnx.to_pure_dict(state) for state in states]

    return jax.eval_shape(split, jax.random.key(0)), found[0]


def _leaves(state):
    name = lambda path: keystr(path, simple=True, separator=".").removesuffix(".value")
    return {name(path): leaf for path, leaf in tree_leaves_with_path(state)}


def _shapes(tree):
    return tree_structure(tree), tuple(leaf.shape for leaf in tree_leaves(tree))


def _filter(trained):
    from flax import nnx

    if trained is None:
        return nnx.Param
    return tuple(trained) if isinstance(trained, list) else trained
