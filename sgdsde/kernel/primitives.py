"""Arithmetic that kernels for GPUs lack, said in what they have.

The two sets are those of Mosaic GPU in the oldest and the newest JAX that the package takes.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core
from jax.tree_util import tree_leaves, tree_structure

from sgdsde.scalars.jaxprs import called, literal, live_equations, opened

__all__ = ["refused_primitives", "with_native_primitives"]

NATIVE = {
    *("abs", "add", "and", "atan2", "broadcast_in_dim", "clamp", "convert_element_type", "cos"),
    *("div", "eq", "erf", "exp", "exp2", "ge", "gt", "integer_pow", "le", "log", "logistic", "lt", "max", "min", "mul"),
    *("ne", "neg", "not", "or", "rem", "round", "rsqrt", "shift_left", "shift_right_arithmetic"),
    *("shift_right_logical", "sign", "sin", "square", "sub", "tanh", "xor"),
}


def refused_primitives(function: Callable, *example: Any) -> frozenset[str]:
    """Names of the primitives that keep a function of scalars out of a kernel; empty if it can go in. A constant array
    that the function holds is named "constant"."""
    jaxpr, constants = opened(jax.make_jaxpr(function)(*example))
    arrays = {"constant"} if any(np.ndim(constant) for constant in constants) else set()
    return frozenset(arrays | _refused(jaxpr))


def with_native_primitives(function: Callable) -> Callable:
    """The same function of scalars or vectors in primitives that kernels know: to rounding, a power to that of its
    exponent."""

    def native(*arguments):
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        return tree_structure(shapes).unflatten(_evaluate(*opened(closed), tree_leaves(arguments)))

    return native


def _refused(jaxpr):
    names = set()
    for equation in live_equations(jaxpr):
        name = equation.primitive.name
        call = called(equation)
        inner = [opened(body) for body in _bodies(equation)] if call is None else [call]
        names = names.union(*(_refused(body) for body, _ in inner))
        is_real_remainder = name == "rem" and jnp.issubdtype(_result_type(equation), jnp.floating)
        if (not inner and name not in NATIVE | REPLACED.keys()) or is_real_remainder:
            names.add(name)
    return names


def _result_type(equation):
    return equation.outvars[0].aval.dtype


def _bodies(equation):
    params = equation.params
    if equation.primitive.name == "while":
        return params["cond_jaxpr"], params["body_jaxpr"]
    return params["branches"] if equation.primitive.name == "cond" else ()


def _evaluate(jaxpr, constants, arguments):
    values = dict(zip(jaxpr.constvars, constants)) | dict(zip(jaxpr.invars, arguments))

    def read(atom):
        return literal(atom)[()] if isinstance(atom, core.Literal) else values[atom]

    for equation in live_equations(jaxpr):
        operands = [read(atom) for atom in equation.invars]
        name, params = equation.primitive.name, equation.params
        if (inner := called(equation)) is not None:
            results = _evaluate(*inner, operands)
        elif name == "while":
            results = _while(params, operands)
        elif name == "cond":
            branches = [lambda *operands, body=body: _evaluate(*opened(body), operands) for body in params["branches"]]
            results = lax.switch(operands[0], branches, *operands[1:])
        elif name in REPLACED:
            results = [REPLACED[name](params, *operands)]
        else:
            results = equation.primitive.bind(*operands, **params)
            results = results if equation.primitive.multiple_results else [results]
        values.update(zip(equation.outvars, results))
    return [read(atom) for atom in jaxpr.outvars]


def _while(params, operands):
    """A loop over vectors goes on until all are done, and keeps those that are."""
    first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    unfinished = lambda carry: _evaluate(*opened(params["cond_jaxpr"]), [*operands[:first], *carry])[0]
    body = lambda carry: _evaluate(*opened(params["body_jaxpr"]), [*operands[first:second], *carry])
    if not opened(params["cond_jaxpr"])[0].outvars[0].aval.shape:
        return lax.while_loop(unfinished, body, operands[second:])

    def continued(carry):
        is_mine = unfinished(carry)
        return [_select(params, is_mine, old, new) for new, old in zip(body(carry), carry)]

    some = unfinished(operands[second:])
    start = [
        _select(params, some, value, value) for value in operands[second:]
    ]  # a constant becomes one number a thread
    return lax.while_loop(lambda carry: _any(unfinished(carry)), continued, start)


def _bitcast(params, x):
    """Between integers a conversion: Mosaic's cast would go on taking the result for unsigned, or for signed."""
    new = params["new_dtype"]
    both_integers = jnp.issubdtype(x.dtype, jnp.integer) and jnp.issubdtype(new, jnp.integer)
    return lax.convert_element_type(x, new) if both_integers else lax.bitcast_convert_type(x, new)


def _select(params, which, *cases):
    """Of signed integers as unsigned ones: Mosaic may take the result for unsigned."""
    kind = cases[0].dtype
    if not jnp.issubdtype(kind, jnp.signedinteger):
        return lax.select_n(which, *cases)
    return lax.select_n(which, *(case.astype(f"u{kind}") for case in cases)).astype(kind)


def _sqrt(params, x):
    is_own_root = (x == 0) | (x == jnp.inf)  # where x and its reciprocal root make NaN
    return jnp.where(is_own_root, x, x * lax.rsqrt(x))


def _floor(params, x):
    nearest = jnp.round(x)
    return nearest - (nearest > x).astype(x.dtype)


def _expm1(params, x):
    return jnp.where(jnp.abs(x) < 0.5, jnp.tanh(x / 2) * (jnp.exp(x) + 1), jnp.exp(x) - 1)


def _log1p(params, x):
    """log u x/(u - 1) with u = 1 + x rounded: the rounding cancels (Kahan)."""
    u = 1 + x
    is_exact = (u == 1) | (u == jnp.inf)
    return jnp.where(is_exact, x, jnp.log(u) * (x / jnp.where(is_exact, 1, u - 1)))


def _power(params, x, y):
    magnitude = jnp.exp(y * jnp.log(jnp.abs(x)))
    is_whole, is_even = jnp.round(y) == y, jnp.round(y / 2) == y / 2
    is_negative = (x < 0) | (1 / x < 0)  # minus zero too
    signed = jnp.where(is_negative & is_whole & ~is_even, -magnitude, magnitude)
    return jnp.where(y == 0, 1, jnp.where((x < 0) & (x > -jnp.inf) & ~is_whole, jnp.nan, signed))


def _any(x):
    return jnp.max(jnp.where(x, np.float32(1), np.float32(0))) > 0  # kernels reduce numbers, not truth values


REPLACED: dict[str, Callable] = {
    "add_any": lambda params, x, y: x + y,
    "bitcast_convert_type": _bitcast,
    "ceil": lambda params, x: -_floor(params, -x),
    "copy": lambda params, x: x,
    "cosh": lambda params, x: (jnp.exp(x) + jnp.exp(-x)) / 2,
    "expm1": _expm1,
    "floor": _floor,
    "is_finite": lambda params, x: jnp.abs(x) < jnp.inf,
    "log1p": _log1p,
    "one_minus_square": lambda params, x: (1 - x) * (1 + x),
    "pow": _power,
    "select_n": _select,
    "sqrt": _sqrt,
    "stop_gradient": lambda params, x: x,
    "tan": lambda params, x: jnp.sin(x) / jnp.cos(x),
}
"""primitive -> its result from (params, *operands)"""
