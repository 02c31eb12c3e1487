"""diffrax: `diffeqsolve` with its Euler solver, vmapped over chains, with each of its two Brownian paths.

Time is counted in steps, so that step ends are exact in float32 and a longer run needs no new compilation. Forward mode
as the adjoint, because it lets diffrax run its cheapest loop.
"""

import functools

import jax
import jax.numpy as jnp

from scripts.peers.program import Program, Run, unless_imports

__all__ = ["PROGRAMS"]


def prepare(work, num_chains: int, *, is_tree: bool) -> Run:
    import diffrax

    start, amplitude = work.start(), work.amplitude * work.step**0.5
    gradient = jax.grad(work.potential)

    def path(num_steps, key):
        if is_tree:
            return diffrax.VirtualBrownianTree(0.0, num_steps, tol=0.5, shape=start.shape, key=key)
        return diffrax.UnsafeBrownianPath(start.shape, key)

    def solution(num_steps, key):
        # a diffusion diag(amplitude) as a matrix would be slower; in one dimension lineax is not needed at all
        drift = diffrax.ODETerm(lambda t, x, args: -work.step * gradient(x))
        diffusion = diffrax.ControlTerm(lambda t, x, args: amplitude * identity, path(num_steps, key))
        solved = diffrax.diffeqsolve(
            diffrax.MultiTerm(drift, diffusion),
            diffrax.Euler(),
            t0=0.0,
            t1=num_steps,
            dt0=1.0,
            y0=start,
            saveat=diffrax.SaveAt(t1=True),
            adjoint=diffrax.ForwardMode(),
            max_steps=2**24,
        )
        return solved.ys[0]

    identity = diagonal(len(start))
    compiled = jax.jit(jax.vmap(solution, in_axes=(None, 0)))

    def run(seed, num_steps):
        keys = jax.random.split(jax.random.key(seed), num_chains)
        return jax.block_until_ready(compiled(jnp.float32(num_steps), keys))

    return run


def diagonal(size):
    import lineax

    return lineax.DiagonalLinearOperator(jnp.ones(size, jnp.float32))


def absence() -> str | None:
    return unless_imports("diffrax", "diffrax", "pip install diffrax")


PROGRAMS = (
    Program(
        "diffrax, UnsafeBrownianPath",
        functools.partial(prepare, is_tree=False),
        ("double_well",),
        absence,
        max_chains=65_536,
    ),
    Program(
        "diffrax, VirtualBrownianTree",
        functools.partial(prepare, is_tree=True),
        ("double_well",),
        absence,
        max_chains=4_096,
    ),
)
