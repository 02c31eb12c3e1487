"""The identity that may be differentiated forward only: reverse mode is answered by a sentence instead of by a loop."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.tree_util import tree_map

__all__ = ["forward_only"]


def forward_only(tree: Any) -> Any:
    """`tree` itself, values and tangents. Raises TypeError where a cotangent comes back to it (`jax.grad`)."""
    return tree_map(lambda leaf: _forward_only(leaf) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf, tree)


@jax.custom_jvp
def _forward_only(array):
    return array


def _refuse(cotangent, tangent):
    raise TypeError(
        "simulate: reverse-mode derivatives (jax.grad, jax.vjp, jax.jacrev) would need every step of the loop, which "
        "keeps none; differentiate forward with jax.jvp or jax.jacfwd"
    )


_tangent = Primitive("forward_only")
_tangent.def_impl(lambda tangent: tangent)
_tangent.def_abstract_eval(lambda tangent: tangent)
mlir.register_lowering(_tangent, lambda context, tangent: [tangent])
batching.defvectorized(_tangent)
ad.deflinear2(_tangent, _refuse)
_forward_only.defjvp(lambda primals, tangents: (primals[0], _tangent.bind(tangents[0])))
