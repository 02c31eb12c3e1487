"""Reading jaxprs, whose constants some versions of JAX keep beside them and others inside."""

from typing import Any

import numpy as np
from jax.extend import core

__all__ = ["called", "literal", "live_equations", "opened"]

CALLS = {"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call"}
CALLS |= {"checkpoint", "remat", "remat2"}


def live_equations(jaxpr: core.Jaxpr) -> list[core.JaxprEqn]:
    """The equations whose results are used, in order."""
    used = {atom for atom in jaxpr.outvars if isinstance(atom, core.Var)}
    live = []
    for equation in reversed(jaxpr.eqns):
        if equation.effects or not used.isdisjoint(equation.outvars):
            live.append(equation)
            used.update(atom for atom in equation.invars if isinstance(atom, core.Var))
    return live[::-1]


def opened(jaxpr: Any) -> tuple[Any, tuple]:
    """A jaxpr and its constants."""
    return getattr(jaxpr, "jaxpr", jaxpr), tuple(getattr(jaxpr, "consts", ()))


def called(equation: Any) -> tuple[Any, tuple] | None:
    """The jaxpr and constants behind an equation that only wraps another function (jit, remat, custom derivatives)."""
    if equation.primitive.name not in CALLS:
        return None
    return opened(equation.params["jaxpr" if "jaxpr" in equation.params else "call_jaxpr"])


def literal(atom: Any) -> np.ndarray:
    """The number written into an equation, in its precision."""
    return np.asarray(atom.val, atom.aval.dtype)
