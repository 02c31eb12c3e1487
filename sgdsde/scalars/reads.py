"""Whether scalar arithmetic would read a shared array again and again, as a minibatch's examples are."""

from typing import Any

import jax
from jax.extend import core
from jax.tree_util import tree_leaves

from sgdsde.scalars.boxes import boxes_like, scalars_of
from sgdsde.scalars.form import ScalarForm

__all__ = ["repeats_reads"]

READS = {"gather", "dynamic_slice"}


def repeats_reads(form: ScalarForm, shared: Any, *own: Any) -> bool:
    """Whether the results, each computed by itself as XLA's loops on a CPU do, read shared arrays at places of the
    chain's own more than twice as often as they would together.

    In a linear regression every coordinate of the gradient takes all of a minibatch's residuals: in scalar form each
    would read the whole minibatch. The arguments are those of the form: `shared`, and shapes of `own`.
    """

    if not form.array_primitives & READS:
        return False

    def on_scalars(shared, *scalars):
        remaining = iter(scalars)
        boxes = [boxes_like(like, [next(remaining) for _ in range(_size(like))]) for like in own]
        return scalars_of(form(shared, *boxes))

    scalars = [jax.ShapeDtypeStruct((), leaf.dtype) for leaf in tree_leaves(own) for _ in range(leaf.size)]
    jaxpr = jax.make_jaxpr(on_scalars)(shared, *scalars).jaxpr
    reads: dict[Any, int] = {}  # of each variable, as a set of bits

    def behind(atoms):
        found = 0
        for atom in atoms:
            found |= 0 if isinstance(atom, core.Literal) else reads.get(atom, 0)
        return found

    for index, equation in enumerate(jaxpr.eqns):
        found = behind(equation.invars) | (1 << index if equation.primitive.name in READS else 0)
        reads.update(dict.fromkeys(equation.outvars, found))
    apart = sum(behind([atom]).bit_count() for atom in jaxpr.outvars)
    return apart > 2 * behind(jaxpr.outvars).bit_count()


def _size(like: Any) -> int:
    return sum(leaf.size for leaf in tree_leaves(like))
