"""sgdsde itself, through its public functions only: as one calls it, and inside a user's own jit (as sweeps do), where
the compiler's options and the threads are not ours to choose."""

import jax

from scripts.peers.program import Program, Run
from sgdsde import simulate

__all__ = ["PROGRAMS"]


def prepare(work, num_chains: int) -> Run:
    dynamics, start = work.dynamics(), work.start()

    def run(seed, num_steps):
        return jax.block_until_ready(final_params(dynamics, start, jax.random.key(seed), num_steps, num_chains))

    return run


def prepare_inside_jit(work, num_chains: int) -> Run:
    compiled = jax.jit(final_params, static_argnames=("num_steps", "num_chains"))
    dynamics, start = work.dynamics(), work.start()

    def run(seed, num_steps):
        key = jax.random.key(seed)
        return jax.block_until_ready(compiled(dynamics, start, key, num_steps=num_steps, num_chains=num_chains))

    return run


def final_params(dynamics, start, key, num_steps, num_chains):
    """The final params of one call of `simulate`; one record of one number, so that only the loop is timed."""
    run = simulate(
        dynamics,
        start,
        key,
        num_steps=num_steps,
        num_chains=num_chains,
        observe=first_number,
        every=num_steps,
        average=True,
    )
    return run.params


def first_number(params):
    return jax.tree.leaves(params)[0].ravel()[0]


KINDS = ("langevin", "levy", "sgd", "anisotropic", "seeds", "descent")
PROGRAMS = (
    Program("ours", prepare, KINDS),
    Program("ours, inside jit", prepare_inside_jit, ("langevin", "levy")),
)
