"""The scalar form of a function: its jaxpr, interpreted equation by equation on boxes."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core
from jax.tree_util import tree_leaves, tree_structure

from sgdsde.scalars.arithmetic import ELEMENTWISE, SUMS, scalar_operation
from sgdsde.scalars.boxes import (
    box_of,
    boxed,
    boxes_like,
    converted,
    each,
    is_box,
    known_if_small,
    scalars_of,
    stacked,
)
from sgdsde.scalars.cost import SHORT_SCAN, count_operations
from sgdsde.scalars.jaxprs import called, literal, live_equations, opened
from sgdsde.scalars.movement import LOOKUPS, MOVES, scatter

__all__ = ["ScalarForm", "scalar_form"]


@dataclass(frozen=True, eq=False)
class ScalarForm:
    """A function in scalar form; make it with `scalar_form`.

    form(shared, *own): pytrees like the example's, in which every leaf of `own` is a box (`boxes_like`). A leaf of
    `shared` is an ordinary array, read element by element where it meets a chain's scalars, or a box too. Returns the
    function's pytree with boxes for leaves, whose elements `scalars_of` lists.

    cost: scalar operations of one call, at most. array_primitives: names of those that still work on arrays, because
    they have no scalar form (a sort, a solve) or read a shared array at a place of the chain's own. is_read: for each
    leaf of (shared, *own), whether the function reads it; one that it does not may be anything.
    """

    jaxpr: core.Jaxpr
    constants: tuple
    inputs: Any
    outputs: Any
    cost: int
    array_primitives: frozenset[str]
    is_read: tuple[bool, ...]

    def __call__(self, *arguments: Any) -> Any:
        if tree_structure(arguments) != self.inputs:
            raise TypeError(f"expected arguments of structure {self.inputs}, got {tree_structure(arguments)}")
        leaves = zip(tree_leaves(arguments), self.jaxpr.invars, self.is_read)
        values = [_entering(value, var.aval) if is_read else None for value, var, is_read in leaves]
        return self.outputs.unflatten(map(boxed, _interpret(self.jaxpr, self.constants, values)))


def scalar_form(function: Callable, shared: Any, *own: Any, max_cost: int) -> ScalarForm | None:
    """`function(shared, *own)` as scalar arithmetic, or None if that takes more than `max_cost` scalar operations.

    shared: an example of what all chains have in common (rates, matrices, examples); own: examples of what each chain
    has for itself (state, draws). Examples are pytrees of arrays or `jax.ShapeDtypeStruct`. Map over chains outside:
    `jax.vmap(lambda *scalars: scalars_of(form(shared, boxes_like(state, scalars))))`.
    """
    closed, result = jax.make_jaxpr(function, return_shape=True)(shared, *own)
    jaxpr, constants = opened(closed)
    is_own = [False] * len(tree_leaves(shared)) + [True] * len(tree_leaves(own))
    cost, array_primitives = count_operations(jaxpr, is_own)
    if cost > max_cost:
        return None
    read = {atom for equation in live_equations(jaxpr) for atom in equation.invars if isinstance(atom, core.Var)}
    read |= {atom for atom in jaxpr.outvars if isinstance(atom, core.Var)}
    is_read = tuple(var in read for var in jaxpr.invars)
    structures = tree_structure((shared, *own)), tree_structure(result)
    return ScalarForm(jaxpr, constants, *structures, cost, array_primitives, is_read)


def _entering(value: Any, aval: Any) -> Any:
    if is_box(value):
        return each(lambda scalar: converted(scalar, aval.dtype), value.shape, value)
    return converted(value, aval.dtype) if isinstance(value, jax.Array) else np.asarray(value, aval.dtype)


def _interpret(jaxpr: core.Jaxpr, constants: Iterable, arguments: Iterable) -> list:
    """The jaxpr's results, from and to boxes, known arrays and shared arrays."""
    values = dict(zip(jaxpr.constvars, map(known_if_small, constants)))
    values.update(zip(jaxpr.invars, arguments))

    boxes = {}  # of shared arrays that met scalars, so that each is read once; looked up they stay arrays

    def read(atom: Any) -> Any:
        return literal(atom) if isinstance(atom, core.Literal) else values[atom]

    def read_boxed(atom: Any) -> np.ndarray:
        value = read(atom)
        if not isinstance(value, jax.Array):
            return boxed(value)
        if atom not in boxes:
            boxes[atom] = boxed(value)
        return boxes[atom]

    for equation in live_equations(jaxpr):
        operands = [read(atom) for atom in equation.invars]
        if equation.primitive.name in ARITHMETIC and any(map(is_box, operands)):
            operands = [read_boxed(atom) for atom in equation.invars]
        values.update(zip(equation.outvars, _evaluate(equation, operands)))
    return [read(atom) for atom in jaxpr.outvars]


def _evaluate(equation: Any, operands: list) -> list:
    name = equation.primitive.name
    if (inner := called(equation)) is not None:
        return _interpret(*inner, operands)
    if not any(map(is_box, operands)):
        if any(isinstance(operand, jax.Array) for operand in operands):
            return _on_arrays(equation, operands)  # once for all chains
        if not (name in MOVES or (name in ELEMENTWISE and _is_inexact(equation))):
            return _while_tracing(equation, operands)  # known integers are places
    if name in MOVES:
        moved = MOVES[name](equation.params, *operands)
        return moved if equation.primitive.multiple_results else [moved]
    if name in ELEMENTWISE:
        shape: Any = equation.outvars[0].aval.shape
        if np.broadcast_shapes(*(operand.shape for operand in operands)) == shape:
            return [each(functools.partial(scalar_operation, equation), shape, *operands)]
    results = None
    if name in CONTROL:
        results = CONTROL[name](equation, *operands)
    elif (rule := SUMS.get(name) or LOOKUPS.get(name)) is not None:
        result = rule(equation, *operands)
        results = None if result is None else [result]
    return _on_arrays(equation, operands) if results is None else results


def _is_inexact(equation: Any) -> bool:
    return any(jnp.issubdtype(var.aval.dtype, jnp.inexact) for var in equation.outvars)


def _on_arrays(equation: Any, operands: list) -> list:
    """The primitive itself. What depends on a chain becomes boxes again."""
    arrays = [stacked(operand, atom.aval.dtype) for operand, atom in zip(operands, equation.invars)]
    results = equation.primitive.bind(*arrays, **equation.params)
    results = results if equation.primitive.multiple_results else [results]
    return [boxed(result) for result in results] if any(map(is_box, operands)) else list(results)


def _while_tracing(equation: Any, operands: list) -> list:
    with jax.ensure_compile_time_eval():
        return [known_if_small(result) for result in _on_arrays(equation, operands)]


def _while(equation: Any, *operands: Any) -> list:
    params = equation.params
    first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    like = [atom.aval for atom in equation.invars[second:]]

    def run(jaxpr, fixed, scalars):
        return scalars_of(_interpret(*opened(jaxpr), [*fixed, *boxes_like(like, scalars)]))

    carry = lax.while_loop(
        lambda scalars: run(params["cond_jaxpr"], operands[:first], scalars)[0],
        lambda scalars: run(params["body_jaxpr"], operands[first:second], scalars),
        scalars_of(operands[second:]),
    )
    return boxes_like(like, carry)


def _cond(equation: Any, index: Any, *operands: Any) -> list:
    branches = [functools.partial(_interpret, *opened(branch), operands) for branch in equation.params["branches"]]
    index = boxed(index)[()]
    if isinstance(index, np.generic):
        return branches[min(max(int(index), 0), len(branches) - 1)]()
    scalars = lax.switch(index, [lambda branch=branch: scalars_of(branch()) for branch in branches])
    return boxes_like([var.aval for var in equation.outvars], scalars)


def _scan(equation: Any, *operands: Any) -> list | None:
    """Unrolled if it is short. What it scans over has one axis more than its body sees."""
    (body, constants), length = opened(equation.params["jaxpr"]), equation.params["length"]
    if not 0 < length <= SHORT_SCAN:
        return None
    num_xs = sum(outer.aval.ndim > inner.aval.ndim for outer, inner in zip(equation.invars, body.invars))
    num_ys = sum(outer.aval.ndim > inner.aval.ndim for outer, inner in zip(equation.outvars, body.outvars))
    num_carry = len(body.outvars) - num_ys
    first, second = len(operands) - num_xs - num_carry, len(operands) - num_xs
    fixed, carry, stacks = operands[:first], operands[first:second], operands[second:]
    rows: dict[int, list] = {}
    for step in range(length)[:: -1 if equation.params["reverse"] else 1]:
        xs = [stack[step : step + 1].reshape(stack.shape[1:]) for stack in stacks]
        results = _interpret(body, constants, [*fixed, *carry, *xs])
        carry, rows[step] = results[:num_carry], list(map(boxed, results[num_carry:]))
    return [*carry, *(np.stack(column) for column in zip(*(rows[step] for step in range(length))))]


def _scatter(equation: Any, operand: Any, indices: Any, updates: Any) -> list | None:
    """`x.at[i].set(y)`, or `x.at[i].apply(f)`, whose function is a jaxpr of the element there and an unused update."""
    function, constants = equation.params["update_jaxpr"], equation.params["update_consts"]

    def combine(element, update):
        if function is None:
            return update
        pair = (box_of([scalar], ()) for scalar in (element, update))
        return boxed(_interpret(function, constants, pair)[0])[()]

    result = scatter(combine, equation, operand, indices, updates)
    return None if result is None else [result]


ARITHMETIC = {*ELEMENTWISE, *MOVES, *SUMS}
CONTROL: dict[str, Callable] = {"cond": _cond, "scan": _scan, "scatter": _scatter, "while": _while}
"""primitive -> rule(equation, *values): a list of values, or None where only the primitive itself can tell"""
