"""An equinox model as a Problem."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.tree_util import keystr, tree_flatten, tree_leaves, tree_leaves_with_path, tree_structure, tree_unflatten

from sgdsde.problem import Problem
from sgdsde.problems.adapters.models import STATE_REFUSED, adapted, as_arguments, draws_numbers, made_constants
from sgdsde.pytrees import as_partial

__all__ = ["from_equinox"]


def from_equinox(
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
    """The problem (1/n) sum_i example_loss(model, example_i) + penalty(params) of an equinox model.

    make_model(key) -> eqx.Module (or any pytree); params are its arrays by name, {"layers[0].weight": ...}.
    example_loss(model, example) -> scalar; with dropout_key example_loss(model, example, key), the key of this
    example's mask. trained: as the second argument of `eqx.partition`; None means eqx.is_inexact_array. All other
    arrays (of whole numbers, of truth values, what `trained` leaves out) are constants, the same for all chains.
    All else (examples, penalty, batch_loss, dropout_key, num_masks, what is refused, and that the same function objects
    compile nothing twice) as in `from_nnx`; a stateful layer is refused even when frozen.
    """
    import equinox as eqx

    if isinstance(make_model, eqx.Module) or not callable(make_model):
        raise TypeError(
            f"from_equinox: make_model: expected a function key -> eqx.Module, got {type(make_model).__name__}; give "
            "the function that makes the model, so that every chain has a start of its own"
        )
    example_loss, examples = as_arguments("from_equinox", example_loss, examples)
    make_model, trained = as_partial(make_model), eqx.is_inexact_array if trained is None else trained
    found = []

    def split(key):
        model = make_model(key)
        _check_state(model)
        params, rest = eqx.partition(model, trained)
        constants, static = eqx.partition(rest, _is_array)
        leaves, structure = tree_flatten(static)
        names = tuple(name for name, _ in _named(params))
        constants, shape = tree_flatten(constants)
        static = structure, tuple((type(leaf), leaf) for leaf in leaves)
        found.append(_Equinox(names, tree_structure(params), shape, *static))
        return params, constants

    params, rest = jax.eval_shape(split, jax.random.key(0))
    if not tree_leaves(params):
        raise ValueError("from_equinox: the model has nothing to train: no floating-point array that `trained` takes")
    constants = made_constants("from_equinox", jax.jit(lambda key: split(key)[1])) if rest else []
    return adapted(
        "from_equinox",
        found[0],
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
class _Equinox:
    """names of the trained arrays; structures of what is trained, constant, static; the static leaves."""

    names: tuple
    trained: Any
    constant: Any
    static: Any
    leaves: tuple

    def start(self, make_model, key):
        arrays = dict(_named(make_model(key)))
        return {name: arrays[name] for name in self.names}

    def model(self, params, constants, key):
        import equinox as eqx

        trained = tree_unflatten(self.trained, [params[name] for name in self.names])
        static = tree_unflatten(self.static, [leaf for _, leaf in self.leaves])
        return eqx.combine(trained, tree_unflatten(self.constant, constants), static)

    def loss(self, example_loss, params, constants, example, key):
        model = self.model(params, constants, key)
        return example_loss(model, example) if key is None else example_loss(model, example, key)

    def traced(self, example_loss, params, constants, example, key):
        try:
            jaxpr = jax.make_jaxpr(lambda *args: self.loss(example_loss, *args))(params, constants, example, key)
        except RuntimeError as error:
            if key is None and "requires a key" in str(error):
                return True
            raise
        return draws_numbers(jaxpr) and (key is not None or self.has_dropout())

    def has_dropout(self):
        import equinox as eqx

        model = self.model(dict.fromkeys(self.names), [None] * self.constant.num_leaves, None)
        is_dropout = lambda part: isinstance(part, eqx.nn.Dropout)
        layers = [layer for layer in tree_leaves(model, is_leaf=is_dropout) if is_dropout(layer)]
        return any(not layer.inference and not (isinstance(layer.p, int | float) and layer.p == 0) for layer in layers)

    def evaluated(self, model):
        import equinox as eqx

        return eqx.nn.inference_mode(model)


def _check_state(model):
    import equinox as eqx

    is_state = lambda part: isinstance(part, eqx.nn.State | eqx.nn.StateIndex)
    is_layer = lambda part: isinstance(part, eqx.nn.StatefulLayer) or is_state(part)
    for path, part in tree_leaves_with_path(model, is_leaf=is_layer):
        if is_state(part) or any(is_state(inner) for inner in tree_leaves(part, is_leaf=is_state)):
            raise ValueError(
                f"from_equinox: make_model{keystr(path)} is a {type(part).__name__}, which carries state: "
                f"{STATE_REFUSED} (as a scale and a shift)"
            )


def _named(tree):
    return [(keystr(path).lstrip("."), leaf) for path, leaf in tree_leaves_with_path(tree)]


def _is_array(leaf):
    return isinstance(leaf, jax.Array | np.ndarray)
