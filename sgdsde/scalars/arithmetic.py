"""Primitives that compute, on scalars: elementwise operations, reductions, running sums, products of matrices."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sgdsde.elementary import angle, arctangent, cosine_of_radians, logarithm_of_one_plus, sine_of_radians
from sgdsde.scalars.boxes import box_of, boxed, converted, each

__all__ = ["ELEMENTWISE", "SUMS", "add", "multiply", "scalar_operation"]

ELEMENTWISE = {
    *("abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh", "bessel_i0e"),
    *("bessel_i1e", "bitcast_convert_type", "cbrt", "ceil", "clamp", "clz", "complex", "conj", "convert_element_type"),
    *("copy", "copy_p", "cos", "cosh", "digamma", "div", "eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1"),
    *("floor", "ge", "gt", "igamma", "igamma_grad_a", "igammac", "imag", "integer_pow", "is_finite", "le", "lgamma"),
    *("log", "log1p", "log2", "logistic", "lt", "max", "min", "mul", "mulhi", "name", "ne", "neg", "nextafter", "not"),
    *("one_minus_square", "or", "polygamma", "population_count", "pow", "real", "reduce_precision", "rem", "round"),
    *("regularized_incomplete_beta", "rsqrt", "select_n", "shift_left", "shift_right_arithmetic", "sign", "sin"),
    *("shift_right_logical", "sinh", "sqrt", "square", "stop_gradient", "sub", "tan", "tanh", "xor", "zeta"),
}
POLYNOMIALS: dict[str, Callable] = {
    "atan": arctangent,
    "atan2": angle,
    "cos": cosine_of_radians,
    "log1p": logarithm_of_one_plus,
    "sin": sine_of_radians,
}
"""in place of what XLA on the CPU computes by a call for each number, which keeps all around it from being vectors; and
of log1p, which takes twice as long there. Of tanh, exp and log its own are as fast"""
LARGEST_POWER = 8
FOLDED: dict[str, Callable] = {"add": np.add, "mul": np.multiply, "sub": np.subtract}
"""on known numbers done now, so that an exponent that differentiation has lowered by one is known too"""
# the operand that changes nothing, and whether it may stand on the left
NEUTRAL = {"add": (0, True), "add_any": (0, True), "sub": (0, False), "mul": (1, True), "div": (1, False)}


def scalar_operation(equation: Any, *operands: Any) -> Any:
    """One elementwise equation on scalars; what padding and the seeds of reverse mode put in drops out again."""
    name = equation.primitive.name
    if name == "select_n" and isinstance(operands[0], np.generic):
        return operands[1 + int(operands[0])]
    if name == "convert_element_type":
        return converted(operands[0], equation.params["new_dtype"])
    if name in FOLDED and all(isinstance(operand, np.floating) for operand in operands):
        with np.errstate(all="ignore"):
            return FOLDED[name](*operands)
    if name in NEUTRAL and (survivor := _beside_neutral(name, *operands)) is not None:
        return survivor
    if name in POLYNOMIALS and _is_slow(equation):
        return POLYNOMIALS[name](*operands)
    if name == "pow" and (power := _power(*operands)) is not None:
        return power
    return equation.primitive.bind(*operands, **equation.params)


def _is_slow(equation: Any) -> bool:
    """Whether XLA's own is the slow one: in float32 on the CPU; a caller may still ask for an accuracy of XLA's."""
    is_single = equation.outvars[0].aval.dtype == jnp.float32
    return is_single and equation.params.get("accuracy") is None and jax.default_backend() == "cpu"


def _power(base: Any, exponent: Any) -> Any:
    """A power of a real number with an exponent known in quarters, from square roots: XLA would call a library for each
    number. None for others."""
    if not isinstance(exponent, np.floating) or not abs(exponent) <= LARGEST_POWER or 4 * exponent % 1:
        return None
    if not exponent:
        return type(exponent)(1)
    whole, digits = divmod(int(4 * abs(exponent)), 4)
    factors, root = [lax.integer_pow(base, whole)] if whole else [], base
    while digits:  # the two after the binary point
        root = lax.sqrt(root)
        factors += [root] if digits & 2 else []
        digits = digits << 1 & 3
    power = functools.reduce(lax.mul, factors)
    return power if exponent > 0 else lax.integer_pow(power, -1)


def add(left: Any, right: Any) -> Any:
    survivor = _beside_neutral("add", left, right)
    return lax.add(left, right) if survivor is None else survivor


def multiply(left: Any, right: Any) -> Any:
    survivor = _beside_neutral("mul", left, right)
    return lax.mul(left, right) if survivor is None else survivor


def _beside_neutral(name: str, left: Any, right: Any) -> Any:
    """The other operand, if one is known to leave it as it is. A product with zero stays: it may be NaN."""
    neutral, commutes = NEUTRAL[name]
    if isinstance(right, np.generic) and right == neutral:
        return left
    return right if commutes and isinstance(left, np.generic) and left == neutral else None


def _reduce(combine: Callable, empty: Any, equation: Any, operand: Any) -> np.ndarray | None:
    """From left to right, as a plain loop would; None where nothing of no elements is defined."""
    box, axes = boxed(operand), equation.params["axes"]
    aval: Any = equation.outvars[0].aval
    if not box.size:
        return None if empty is None else np.full(aval.shape, empty, aval.dtype)
    rows = np.moveaxis(box, axes, range(-len(axes), 0)).reshape(aval.size, -1)
    return box_of((functools.reduce(combine, row) for row in rows), aval.shape)


def _accumulate(combine: Callable, equation: Any, operand: Any) -> np.ndarray:
    axis, order = equation.params["axis"], slice(None, None, -1 if equation.params["reverse"] else 1)
    rows = np.moveaxis(boxed(operand), axis, -1)[..., order]
    sums = (itertools.accumulate(rows[place], combine) for place in np.ndindex(rows.shape[:-1]))
    return np.moveaxis(box_of(itertools.chain.from_iterable(sums), rows.shape)[..., order], -1, axis)


def _dot_general(equation: Any, left: Any, right: Any) -> np.ndarray:
    (contract_left, contract_right), (batch_left, batch_right) = equation.params["dimension_numbers"]
    aval: Any = equation.outvars[0].aval

    def rows(operand, contract, batch):
        """(batch, free, contracted), in the precision of the sum"""
        box = each(lambda scalar: converted(scalar, aval.dtype), operand.shape, operand)
        free = [axis for axis in range(box.ndim) if axis not in (*contract, *batch)]
        sizes = [int(np.prod([box.shape[axis] for axis in axes])) for axes in (batch, free, contract)]
        return box.transpose(*batch, *free, *contract).reshape(sizes)

    pairs = zip(rows(left, contract_left, batch_left), rows(right, contract_right, batch_right))
    zero = np.zeros((), aval.dtype)[()]
    products = (map(multiply, row, column) for above, beside in pairs for row in above for column in beside)
    return box_of((functools.reduce(add, product, zero) for product in products), aval.shape)


SUMS: dict[str, Callable] = {
    "cummax": functools.partial(_accumulate, lax.max),
    "cummin": functools.partial(_accumulate, lax.min),
    "cumprod": functools.partial(_accumulate, multiply),
    "cumsum": functools.partial(_accumulate, add),
    "dot_general": _dot_general,
    "reduce_and": functools.partial(_reduce, lax.bitwise_and, True),
    "reduce_max": functools.partial(_reduce, lax.max, None),
    "reduce_min": functools.partial(_reduce, lax.min, None),
    "reduce_or": functools.partial(_reduce, lax.bitwise_or, False),
    "reduce_prod": functools.partial(_reduce, multiply, 1),
    "reduce_sum": functools.partial(_reduce, add, 0),
}
"""primitive -> rule(equation, *values): a box, or None where only the primitive itself can tell"""
