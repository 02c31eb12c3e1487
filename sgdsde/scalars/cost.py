"""How many scalar operations a jaxpr unrolls into, read off its shapes before anything is unrolled."""

from typing import Any

import numpy as np
from jax.extend import core

from sgdsde.scalars.arithmetic import ELEMENTWISE, SUMS
from sgdsde.scalars.jaxprs import called, live_equations, opened
from sgdsde.scalars.movement import LOOKUPS, MOVES

__all__ = ["SHORT_SCAN", "count_operations"]

SHORT_SCAN = 32  # iterations: up to this length a scan is unrolled


def count_operations(jaxpr: core.Jaxpr, is_own: list[bool]) -> tuple[int, frozenset[str]]:
    """The scalar operations that depend on inputs marked as a chain's own (an upper bound: nothing is folded), and the
    names of the primitives that work on arrays."""
    own = {var for var, mine in zip(jaxpr.invars, is_own) if mine}
    total, arrays = 0, frozenset()
    for equation in live_equations(jaxpr):
        mine = [isinstance(atom, core.Var) and atom in own for atom in equation.invars]
        if any(mine):
            own.update(equation.outvars)
            operations, names = _of_equation(equation, mine)
            total, arrays = total + operations, arrays | names
    return total, arrays


def _of_equation(equation: Any, mine: list[bool]) -> tuple[int, frozenset[str]]:
    name, params = equation.primitive.name, equation.params
    sizes, results = _sizes(equation.invars), sum(_sizes(equation.outvars))
    if (inner := called(equation)) is not None:
        return count_operations(inner[0], mine)
    if name in ("while", "cond", "scan"):
        bodies = params["branches"] if name == "cond" else [params[key] for key in params if key.endswith("jaxpr")]
        counts = [count_operations(body, [True] * len(body.invars)) for body, _ in map(opened, bodies)]
        steps = params["length"] if name == "scan" else 1
        names = frozenset({name} if steps > SHORT_SCAN else ())
        return steps * sum(operations for operations, _ in counts), names.union(*(inside for _, inside in counts))
    if name in MOVES:
        return 0, frozenset()
    if name == "scatter" and params["update_jaxpr"] is not None:  # a function of one element, wherever it may be
        operations, names = count_operations(params["update_jaxpr"], [True, True])
        return sizes[2] * (sizes[0] if mine[1] else 1) * (operations + 1), names
    if name in LOOKUPS or name == "scatter":
        if not any(mine[1:]):
            return 0, frozenset()
        return (results * sizes[0], frozenset()) if mine[0] else (results, frozenset({name}))
    if name == "dot_general":
        left: Any = equation.invars[0].aval
        (contracted, _), _ = params["dimension_numbers"]
        return 2 * results * int(np.prod([left.shape[axis] for axis in contracted])), frozenset()
    return max(*sizes, results), frozenset({name} - ELEMENTWISE - SUMS.keys())


def _sizes(atoms: list) -> list[int]:
    return [atom.aval.size for atom in atoms]
