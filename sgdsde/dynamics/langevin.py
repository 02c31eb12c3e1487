"""Euler-Maruyama integration of dx = -grad L dt + (noise), in the Ito convention, at learning-rate resolution or finer.

One step of size learning_rate is `substeps` microsteps of dt = learning_rate / substeps,

    x' = x - dt grad L(x) - kick,    kick = learning_rate^(1 - 1/a) dt^(1/a) noise(x),    a = the noise's tail index,

with the noise in gradient units. At a = 2 the kick is sqrt(learning_rate dt) noise: the SDE
dx = -grad L dt + sqrt(learning_rate C(x)) dW. At one substep it is learning_rate * noise for every tail index, which
has SGD's own mean and covariance per step; many substeps is the SDE. Time scaling exists in this one place only.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import tree_leaves, tree_map

from sgdsde.arguments import count, is_traced
from sgdsde.dynamics.contract import State, check_learning_rate, derived_draw, rate_at
from sgdsde.noise import Noise
from sgdsde.noise.contract import check_problem
from sgdsde.problem import Problem, gradient, weighted_gradient
from sgdsde.pytrees import pytree

__all__ = ["EulerMaruyama", "euler_maruyama", "explicit", "implicit", "tamed"]


def explicit(problem: Problem, params: Any, time_step: Any, kick: Any) -> Any:
    """x' = x - dt grad L(x) - kick. With super-linear drift it explodes under heavy tails: use `implicit` there."""
    return tree_map(lambda x, g, k: x - _as(time_step, x) * g - k, params, gradient(problem, params), kick)


def tamed(problem: Problem, params: Any, time_step: Any, kick: Any) -> Any:
    """x' = x - dt grad L / (1 + dt |grad L|) - kick: cannot explode, at a bias of order dt (4 % in the stationary law
    under Cauchy noise in a quartic at dt = 0.01). Source: Hutzenthaler, Jentzen, Kloeden (2012)."""
    drift = gradient(problem, params)
    norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in tree_leaves(drift)))
    shrink = time_step / (1 + time_step * norm)
    return tree_map(lambda x, g, k: x - _as(shrink, x) * g - k, params, drift, kick)


def implicit(problem: Problem, params: Any, time_step: Any, kick: Any) -> Any:
    """x' + dt grad L(x') = x - kick, coordinate by coordinate (the drift must be separable: a diagonal Hessian).

    Newton's method inside a bracket: if every curvature is above -1/(2 dt) the root lies between the target
    r = x - kick and r - 2 dt grad L(r), and a Newton step that leaves the bracket becomes a bisection. Where the
    bracket does not hold, the coordinate becomes NaN and `simulate` reports it; it is never a wrong number.
    """
    x, unravel = ravel_pytree(params)
    target = x - ravel_pytree(kick)[0]
    time_step = _as(time_step, x)

    def residual(y):
        return y + time_step * ravel_pytree(gradient(problem, unravel(y)))[0] - target

    largest = jnp.asarray(jnp.finfo(x.dtype).max / 4, x.dtype)
    other = jnp.clip(jnp.nan_to_num(target - 2 * residual(target)), -largest, largest)
    lower, upper = jnp.minimum(target, other), jnp.maximum(target, other)

    precise = np.sqrt(jnp.finfo(x.dtype).eps).item()  # Newton's last move squares the error

    def unfinished(carry):
        y, move, _, _, count = carry
        return (count < 300) & jnp.any(jnp.abs(move) > precise * (1 + jnp.abs(y)))

    def newton(carry):
        y, _, lower, upper, count = carry
        value, slope = jax.jvp(residual, (y,), (jnp.ones_like(y),))
        lower, upper = jnp.where(value < 0, y, lower), jnp.where(value < 0, upper, y)
        proposal = y - value / slope
        inside = (proposal >= lower) & (proposal <= upper)
        proposal = jnp.where(inside, proposal, lower + (upper - lower) / 2)
        return proposal, jnp.where(inside, proposal - y, jnp.inf), lower, upper, count + 1

    start = (jnp.clip(x, lower, upper), jnp.full_like(x, jnp.inf), lower, upper, 0)
    root = jax.lax.while_loop(unfinished, newton, start)[0]
    solved = jnp.abs(residual(root)) <= 1e-3 * (1 + jnp.abs(root) + jnp.abs(target))
    return unravel(jnp.where(solved & jnp.isfinite(target), root, jnp.nan))


def euler_maruyama(
    problem: Problem, noise: Noise, *, learning_rate: Any, substeps: int = 1, scheme: Callable = explicit
) -> "EulerMaruyama":
    """The SDE with this noise (Ito). learning_rate: a number or a schedule; it sets the temperature and the time of one
    step; substeps: microsteps inside one step. scheme: `explicit`, `tamed` or `implicit`.

    Usually made by `match`, which derives rate and noise from an SGD. Raises TypeError or ValueError naming the
    argument; `implicit` also if the drift is not separable.
    """
    check_problem(problem)
    if not isinstance(noise, Noise):
        raise TypeError(f"noise: expected a Noise (noise.anisotropic(problem, ...) and the like), got {noise!r}")
    substeps = count("substeps", substeps)
    if not callable(scheme):
        raise TypeError(f"scheme: expected the function explicit, tamed or implicit, got {scheme!r}")
    if scheme is implicit:
        _check_separable(problem)
    weights = noise.example_weights if noise.problem is problem else None
    noise = dataclasses.replace(noise, example_weights=weights, problem=None)
    dynamics = EulerMaruyama(problem, noise, check_learning_rate(learning_rate, problem), substeps, scheme)
    if weights is not None and dynamics.shares_pass:  # a sample too small for this many substeps is refused here
        jax.eval_shape(lambda: weights(noise.draw(jax.random.key(0)), substeps))
    return dynamics


@pytree(static=("substeps", "scheme"))
class EulerMaruyama:
    """An SDE's Euler-Maruyama scheme as a Dynamics; make it with `euler_maruyama` or `match`."""

    problem: Problem
    noise: Noise
    learning_rate: Any
    substeps: int
    scheme: Callable

    @property
    def shares_pass(self) -> bool:
        """Whether drift and noise are one backward pass over the same examples, at the cost of one full-batch gradient
        or less: an explicit step without a closed mean_loss, with noise that is a sum of example gradients."""
        has_weights = self.noise.example_weights is not None
        return has_weights and self.scheme is explicit and self.problem.mean_loss is None

    @property
    def period(self) -> int:
        return 1

    def init(self, params):
        return State(params)

    @property
    def variates(self) -> Any:
        return self.noise.variates

    def arrange(self, numbers):
        return numbers

    draw = derived_draw

    def advance(self, state, draws, step):
        rate = rate_at(self.learning_rate, step)
        time_step = rate / self.substeps
        scale = rate ** (1 - 1 / self.noise.tail_index) * time_step ** (1 / self.noise.tail_index)
        if callable(self.learning_rate):  # below tail index 1 the first factor of a rate of 0 is infinite
            scale = jnp.where(rate == 0, 0, scale)
        if self.shares_pass:
            return State(_explicit_in_one_pass(self, state.params, time_step, scale, draws))
        kick = tree_map(lambda z: _as(scale, z) * z, self.noise.apply(state.params, draws))
        return State(self.scheme(self.problem, state.params, time_step, kick))

    def duration(self, step):
        return rate_at(self.learning_rate, step)


def _explicit_in_one_pass(dynamics, params, time_step, scale, draws):
    """x' = x - sum_j (dt/m + scale w_j) grad example_loss_{i_j} (- dt grad penalty): the explicit step whose drift and
    noise share one backward pass over m examples, which are all of them or a sample."""
    problem = dynamics.problem
    indices, weights = dynamics.noise.example_weights(draws, dynamics.substeps)
    weights = _as(scale, weights) * weights + _as(time_step / weights.shape[0], weights)
    move = weighted_gradient(problem, params, weights, indices)
    if problem.penalty is not None:
        move = tree_map(lambda m, g: m + _as(time_step, g) * g, move, jax.grad(problem.penalty)(params))
    return tree_map(jnp.subtract, params, move)


def _as(value, like):
    return jnp.asarray(value, like.dtype)


def _check_separable(problem):
    """Every coordinate's drift may depend on that coordinate alone: H d = diag(H) d for a random direction d."""
    if is_traced(problem):
        return
    error = float(_separability_error(problem, jax.random.key(0)))
    if not error <= 1e-3:
        raise ValueError(
            "scheme=implicit: needs a separable drift (a diagonal Hessian), but mixed second derivatives of the loss "
            f"are {error:.2g} of the whole at a test point; use explicit with more substeps, or tamed"
        )


@jax.jit
def _separability_error(problem, key):
    start_key, shift_key, sign_key = jax.random.split(key, 3)
    params, unravel = ravel_pytree(problem.init(start_key))
    params = params + 0.3 * jax.random.normal(shift_key, params.shape, params.dtype)
    signs = jax.random.rademacher(sign_key, (16, params.size), params.dtype)
    flat_gradient = lambda p: ravel_pytree(gradient(problem, unravel(p)))[0]
    products = jax.vmap(lambda v: v * jax.jvp(flat_gradient, (params,), (v,))[1])(signs)
    spread = jnp.max(jnp.abs(products - products[:1]))
    return jnp.where(spread > 0, spread / jnp.max(jnp.abs(products)), 0)
