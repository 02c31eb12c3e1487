"""Plain JAX: `lax.scan` over the steps, `jax.random.normal` in each, the gradient by `vmap(grad)`; what anybody writes.

Stable noise is the textbook sampler of Chambers, Mallows and Stuck (1976), with the one guard without which it returns
NaN in float32: the cosine of an angle rounded to -pi/2 is negative.
"""

import functools

import jax
import jax.numpy as jnp

from scripts.peers.program import Program, Run

__all__ = ["PROGRAMS"]


def prepare(work, num_chains: int) -> Run:
    gradient = jax.vmap(jax.grad(work.potential))
    amplitude = work.amplitude * work.step ** (1 / work.tail_index)

    def draw(key, shape):
        if work.tail_index == 2:
            return jax.random.normal(key, shape, jnp.float32)
        return stable(key, work.tail_index, shape)

    @functools.partial(jax.jit, static_argnames="num_steps")
    def compiled(key, x, num_steps):
        def step(x, key):
            return x - work.step * gradient(x) + amplitude * draw(key, x.shape), None

        return jax.lax.scan(step, x, jax.random.split(key, num_steps))[0]

    start = jnp.tile(work.start(), (num_chains, 1))

    def run(seed, num_steps):
        return jax.block_until_ready(compiled(jax.random.key(seed), start, num_steps))

    return run


def stable(key, tail_index, shape):
    """Symmetric stable variates with characteristic function exp(-|k|^tail_index), 0 < tail_index < 2, not 1."""
    a = tail_index
    angle_key, exponential_key = jax.random.split(key)
    angle = jax.random.uniform(angle_key, shape, jnp.float32, -jnp.pi / 2, jnp.pi / 2)
    exponential = jax.random.exponential(exponential_key, shape, jnp.float32)
    cosine = jnp.maximum(jnp.cos(angle), 1e-7)
    return jnp.sin(a * angle) / cosine ** (1 / a) * (jnp.cos((1 - a) * angle) / exponential) ** ((1 - a) / a)


PROGRAMS = (Program("plain", prepare, ("langevin", "levy")),)
