"""A flax.linen module as a Problem."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import tree_leaves, tree_map

from sgdsde.problem import Problem
from sgdsde.problems.adapters.models import (
    STATE_REFUSED,
    adapted,
    as_arguments,
    draws_numbers,
    is_hashable,
    made_constants,
)
from sgdsde.tracing import traced

__all__ = ["from_linen"]


def from_linen(
    module: Any,
    example_loss: Callable,
    examples: Any,
    *,
    penalty: Callable | None = None,
    batch_loss: Callable | None = None,
    dropout_key: Any = None,
    num_masks: int = 1,
    constants: Any = None,
) -> Problem:
    """The problem (1/n) sum_i example_loss(apply, example_i) + penalty(params) of a flax.linen module.

    module: the nn.Module, not bound. example_loss(apply, example) -> scalar: one example, without a batch axis, with
    apply(*inputs, **options) = module.apply({"params": params, ...}, *inputs, **options); the same call, on the first
    example, initialises each chain's parameters, so that nothing else says what the inputs look like.
    constants: the other collections of a trained module, as {"batch_stats": ...}; None means those that the module
    makes. With dropout_key, apply carries the example's mask: example_loss says `deterministic=False` as usual.
    All else (examples, penalty, batch_loss(apply, examples), dropout_key, num_masks, what is refused) as in `from_nnx`.
    """
    from flax import linen

    if not isinstance(module, linen.Module) or module.scope is not None:
        given = "a bound module" if isinstance(module, linen.Module) else f"{getattr(module, '__name__', module)!r}"
        raise TypeError(f"from_linen: module: expected a flax.linen Module such as MLP(features=...), got {given}")
    if not is_hashable(module):
        raise TypeError("from_linen: module: its fields must be hashable; make lists tuples and arrays constants")
    example_loss, examples = as_arguments("from_linen", example_loss, examples)
    first = tree_map(lambda leaf: leaf[0], examples)
    network = _Linen(module)
    variables = lambda key: network.variables(example_loss, first, key)
    with traced("from_linen: example_loss (or the model, or examples that do not fit to it)"):
        made = jax.eval_shape(variables, jax.random.key(0))
    if not tree_leaves(made.get("params", {})):
        raise ValueError("from_linen: the module has nothing to train: example_loss made no parameters when it ran")
    if constants is None:
        others = [name for name in made if name != "params"]
        make = jax.jit(lambda key: {name: variables(key)[name] for name in others})
        constants = made_constants("from_linen", make) if others else {}
    return adapted(
        "from_linen",
        network,
        (example_loss, first),
        tree_map(jnp.asarray, constants),
        example_loss,
        examples,
        penalty=penalty,
        batch_loss=batch_loss,
        dropout_key=dropout_key,
        num_masks=num_masks,
    )


@dataclass(frozen=True)
class _Linen:
    module: Any

    def start(self, example_loss, example, key):
        return self.variables(example_loss, example, key)["params"]

    def variables(self, example_loss, example, key):
        """All collections that the module makes while the loss of one example runs (it may apply it several times)."""
        from flax.linen import meta
        from flax.traverse_util import flatten_dict, unflatten_dict

        found = {}

        def apply(*inputs, **options):
            out, made = self.module.init_with_output({"params": key}, *inputs, **_options(options))
            found.update(flatten_dict(meta.unbox(made)))
            return out

        example_loss(apply, example)
        return unflatten_dict(found)

    def model(self, params, constants, key):
        # Dropout asks for the stream it is configured with, and any other than "dropout" falls back to "params".
        streams = None if key is None else {"dropout": key, "params": jax.random.fold_in(key, 1)}

        def apply(*inputs, **options):
            return self.module.apply({**constants, "params": params}, *inputs, rngs=streams, **_options(options))

        return apply

    def loss(self, example_loss, params, constants, example, key):
        return example_loss(self.model(params, constants, key), example)

    def traced(self, example_loss, params, constants, example, key):
        from flax import errors

        try:
            jaxpr = jax.make_jaxpr(lambda *args: self.loss(example_loss, *args))(params, constants, example, key)
        except errors.ModifyScopeVariableError as error:
            found = str(error).split(" (http")[0]
            raise ValueError(
                f"from_linen: the module changes when it runs ({found}): {STATE_REFUSED} (use_running_average=True)"
            ) from error
        except errors.InvalidRngError:
            if key is None:
                return True
            raise
        return draws_numbers(jaxpr) and key is not None

    def evaluated(self, model):
        return model


def _options(options):
    for name, mend in (("rngs", "give dropout_key to from_linen"), ("mutable", "nothing may change when it runs")):
        if options.get(name):
            raise ValueError(f"from_linen: apply is called with {name}=...; leave it out: {mend}")
    return {name: option for name, option in options.items() if name not in ("rngs", "mutable")}
