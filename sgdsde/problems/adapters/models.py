"""From a network and the loss of one example to a Problem: what is the same for every library of networks.

A network, one frozen dataclass for each library, is the *static* part of a model: its structure without its arrays,
hashable, so that a second problem of the same architecture compiles nothing. It has

    start(*maker, key) -> params                            a plain dictionary of float arrays
    model(params, constants, key) -> model                  what the user's loss takes; key: of this example's mask
    loss(example_loss, params, constants, example, key)     the user's loss of one example
    traced(example_loss, params, constants, example, key)   whether the model draws random numbers; raises for state
    evaluated(model) -> model                               with dropout switched off

`constants` are arrays that belong to the model and are not trained; they travel as leaves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial, keystr, tree_leaves, tree_leaves_with_path, tree_map

from sgdsde.arguments import is_traced
from sgdsde.problem import Problem, check_params
from sgdsde.problems.adapters.batches import check_batch_loss
from sgdsde.pytrees import as_partial
from sgdsde.tracing import traced

__all__ = ["STATE_REFUSED", "adapted", "as_arguments", "draws_numbers", "is_hashable", "made_constants", "model_of"]

STATE_REFUSED = (
    "examples of a batch then interact, or a step depends on the steps before, and SGD's noise is not the mean of "
    "independent example gradients, which every law here assumes; use GroupNorm or LayerNorm, or freeze the statistics"
)


def model_of(problem: Problem, params: Any) -> Any:
    """The network of a problem that `from_nnx`, `from_linen` or `from_equinox` made, with these weights.

    An nnx or equinox model, or linen's `apply`; with it an observer computes what it likes, such as the accuracy on
    test data. Where the problem has dropout, it is switched off in the model (in linen by `apply`'s own arguments).
    params: those of one chain. Raises TypeError for a problem made otherwise.
    """
    check_params(problem, params)
    partial: Any = problem.example_loss
    network_loss = partial.func
    if not isinstance(network_loss, _NetworkLoss):
        raise TypeError("problem: expected one made by from_nnx, from_linen or from_equinox; a plain one has no model")
    _, constants = partial.args
    model = network_loss.network.model(params, constants, None)
    return model if network_loss.key_type is None else network_loss.network.evaluated(model)


def adapted(
    name: str,
    network: Any,
    maker: tuple,
    constants: Any,
    example_loss: Callable,
    examples: Any,
    *,
    penalty: Callable | None,
    batch_loss: Callable | None,
    dropout_key: Any,
    num_masks: int,
) -> Problem:
    """The Problem of a network, after all that may be wrong with it was looked for in its trace. name: of the adapter,
    for messages; maker: pytrees, the arguments of network.start before the key."""
    if not callable(batch_loss) and batch_loss is not None:
        raise TypeError(f"{name}: batch_loss: expected a function, got {type(batch_loss).__name__}")
    key = _checked_key(name, dropout_key, num_masks)
    if key is not None and batch_loss is not None:
        raise ValueError(
            f"{name}: batch_loss is compared with example_loss without random numbers; leave out dropout_key for "
            "that comparison, or batch_loss here"
        )
    if not is_hashable(network):
        raise TypeError(
            f"{name}: the model holds something that is neither an array nor hashable (a list, a dictionary, a NumPy "
            "array as a static field), so that JAX cannot tell two models apart; make it a tuple or an array"
        )
    init = Partial(_Start(network), *maker)
    params = Problem(_no_loss, examples, init, penalty).params_like  # says what is wrong with them
    example = tree_map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), examples)
    with traced(f"{name}: example_loss (or the model, or examples that do not fit to it)"):
        draws = network.traced(example_loss, params, constants, example, None if key is None else jax.random.key(0))
    if draws and key is None:
        raise ValueError(
            f"{name}: the model draws random numbers (dropout), and without a key of their own for each example they "
            "would be the same at every step; give dropout_key=jax.random.key(...), which makes the mask part of the "
            "example, or switch dropout off"
        )
    if key is not None and not draws:
        raise ValueError(f"{name}: dropout_key is given, but the loss draws no random numbers; leave it out")
    key_type = None
    if key is not None:
        key_type, examples = jax.random.key_impl(key), _with_masks(examples, key, num_masks)
    problem = Problem(Partial(_NetworkLoss(network, key_type), example_loss, constants), examples, init, penalty)
    if batch_loss is not None:
        check_batch_loss(name, problem, Partial(_BatchLoss(network), as_partial(batch_loss), constants))
    return problem


def as_arguments(name: str, example_loss: Any, examples: Any) -> tuple[Any, Any]:
    """example_loss as a Partial, the examples as arrays with a common leading axis; raises as Problem's constructor."""
    if not callable(example_loss):
        raise TypeError(f"{name}: example_loss: expected a function, got {type(example_loss).__name__}")
    return as_partial(example_loss), Problem(_no_loss, examples, _no_params).examples


def made_constants(name: str, make: Callable) -> Any:
    """make(key) -> arrays that are not trained, as every chain has them. Raises ValueError if they depend on the key:
    chains start from keys of their own and share these."""
    first, second = make(jax.random.key(0)), make(jax.random.key(1))
    if is_traced((first, second)):
        return first
    for (path, leaf), other in zip(tree_leaves_with_path(first), tree_leaves(second), strict=True):
        if not np.array_equal(np.asarray(leaf), np.asarray(other), equal_nan=np.issubdtype(leaf.dtype, np.inexact)):
            raise ValueError(
                f"{name}: the model's array {keystr(path)} is not trained, but it depends on the random key of the "
                "start; all chains share it, so make it with a key of its own, outside or inside make_model"
            )
    return tree_map(jnp.asarray, first)


def draws_numbers(jaxpr: Any) -> bool:
    """Whether random numbers are drawn anywhere in a jaxpr (splitting keys is not drawing)."""
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("random_bits", "rng_bit_generator", "rng_uniform", "threefry2x32"):
            return True
        inner = tree_leaves(list(equation.params.values()), is_leaf=_is_jaxpr)
        if any(_is_jaxpr(leaf) and draws_numbers(leaf) for leaf in inner):
            return True
    return False


def is_hashable(value: Any) -> bool:
    """Whether hash(value) succeeds."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


@dataclass(frozen=True)
class _NetworkLoss:
    """A problem's example_loss; key_type is the implementation of its mask keys, None without dropout."""

    network: Any
    key_type: Any

    def __call__(self, example_loss, constants, params, example):
        if self.key_type is None:
            return self.network.loss(example_loss, params, constants, example, None)
        key = jax.random.wrap_key_data(example["mask_key"], impl=self.key_type)
        return self.network.loss(example_loss, params, constants, example["example"], key)


@dataclass(frozen=True)
class _BatchLoss:
    network: Any

    def __call__(self, batch_loss, constants, params, examples):
        return batch_loss(self.network.model(params, constants, None), examples)


@dataclass(frozen=True)
class _Start:
    """A problem's init; compiled, so that a start is not traced anew at every look at its shapes."""

    network: Any

    def __call__(self, *maker_and_key):
        return _started(self.network, *maker_and_key)


def _start(network, *maker_and_key):
    return network.start(*maker_and_key)


_started = jax.jit(_start, static_argnums=0)


def _no_loss(params, example):
    return jnp.zeros(())


def _no_params(key):
    return jnp.zeros(())


def _with_masks(examples, key, num_masks):
    """Each example num_masks times, each time with a key of its own (as numbers: any array code can carry those)."""
    repeated = tree_map(lambda leaf: jnp.repeat(jnp.asarray(leaf), num_masks, axis=0), examples)
    count = tree_leaves(repeated)[0].shape[0]
    return {"example": repeated, "mask_key": jax.random.key_data(jax.random.split(key, count))}


def _checked_key(name, key, num_masks):
    if isinstance(num_masks, bool) or not isinstance(num_masks, int | np.integer) or num_masks < 1:
        raise ValueError(f"{name}: num_masks: expected an integer >= 1, got {num_masks!r}")
    if key is None:
        if num_masks != 1:
            raise ValueError(f"{name}: num_masks = {num_masks} without dropout_key; masks are drawn from that key")
        return None
    if not isinstance(key, jax.Array):
        raise TypeError(f"{name}: dropout_key: expected jax.random.key(...), got {key!r}")
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    if key.shape != ():
        raise ValueError(f"{name}: dropout_key: expected one key, got shape {key.shape}")
    return key


def _is_jaxpr(value):
    return hasattr(getattr(value, "jaxpr", value), "eqns")
