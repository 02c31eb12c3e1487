"""Continuous time through diffrax: the gradient flow, and any of our Gaussian SDEs handed to diffrax's solvers."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import lineax
from jax.tree_util import tree_map

from sgdsde.arguments import is_traced, known, number
from sgdsde.dynamics.langevin import EulerMaruyama
from sgdsde.problem import Problem, check_params, gradient

__all__ = ["diffrax_terms", "gradient_flow"]


def gradient_flow(problem: Problem, start: Any, times: Any, *, rtol: float = 1e-6, atol: float = 1e-9) -> Any:
    """dx/dt = -grad L(x) from x(0) = start, at the increasing times (m,): a pytree like start with a leading axis m.

    diffrax's adaptive Tsit5; time is the sum of learning rates, as everywhere. The error of the solver is returned as
    its exception (diffrax raises where a step fails).
    """
    check_params(problem, start, "start")
    known("times", times)
    rtol, atol = number("rtol", rtol, at_least=0.0), number("atol", atol, at_least=0.0)
    times = jnp.asarray(times)
    if times.ndim != 1 or times.size == 0:
        raise ValueError(f"times: expected increasing times (m,), got shape {times.shape}")
    if not is_traced(times) and not (bool((jnp.diff(times) > 0).all()) and bool(times[0] >= 0)):
        raise ValueError("times: expected non-negative, strictly increasing times")
    with jax.numpy_dtype_promotion("standard"):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, x, args: tree_map(jnp.negative, gradient(args, x))),
            diffrax.Tsit5(),
            t0=0.0,
            t1=times[-1],
            dt0=None,
            y0=start,
            args=problem,
            saveat=diffrax.SaveAt(ts=times),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
            max_steps=None,
        ).ys


def diffrax_terms(dynamics: EulerMaruyama, path: diffrax.AbstractPath) -> diffrax.MultiTerm:
    """The drift and diffusion of a Gaussian SDE of ours, as diffrax terms driven by `path`.

    dx = -grad L dt - sqrt(learning_rate) apply(x, dW), with dW shaped like `dynamics.noise.draw(key)`: build the path
    as `diffrax.VirtualBrownianTree(t0, t1, tol, shape=jax.eval_shape(dynamics.noise.draw, key), key=key)`. The Ito
    solvers of diffrax (Euler and its kin) then integrate the same equation. Raises ValueError for other noise, and for
    a learning-rate schedule, which diffrax would read in another clock.
    """
    if not dynamics.noise.is_gaussian:
        raise ValueError(
            "diffrax_terms: diffrax integrates Brownian noise; stable noise has no such term, nor has a mixture"
        )
    if callable(dynamics.learning_rate):
        raise ValueError("diffrax_terms: expected one learning rate, got a schedule (its clock counts steps, not time)")
    structure = jax.eval_shape(lambda: dynamics.noise.draw(jax.random.key(0)))

    def drift(t, x, args):
        return tree_map(jnp.negative, gradient(dynamics.problem, x))

    def diffusion(t, x, args):
        root = jnp.sqrt(dynamics.learning_rate)
        scaled = lambda w: tree_map(lambda z: -jnp.asarray(root, z.dtype) * z, dynamics.noise.apply(x, w))
        return lineax.FunctionLinearOperator(scaled, structure)

    return diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(diffusion, path))
