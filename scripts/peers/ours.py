"""sgdsde itself, through its public functions only: as one calls it, and in a jit that allows 512-bit vectors."""

import jax

from scripts.benchmarking.machine import vector_flags
from scripts.peers.program import Program, Run
from sgdsde import simulate

__all__ = ["PROGRAMS"]


def prepare(work, num_chains: int) -> Run:
    dynamics, start = work.dynamics(), work.start()

    def run(seed, num_steps):
        return jax.block_until_ready(final_params(dynamics, start, jax.random.key(seed), num_steps, num_chains))

    return run


def prepare_wide(work, num_chains: int) -> Run:
    compiled = jax.jit(
        final_params, static_argnames=("num_steps", "num_chains"), compiler_options={"xla_cpu_prefer_vector_width": 512}
    )
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


def wide_absence() -> str | None:
    if jax.default_backend() != "cpu":
        return "a compiler option for the CPU, and this runs on another device"
    return None if "avx512f" in vector_flags() else "this processor has no 512-bit vectors"


KINDS = ("langevin", "levy", "sgd", "anisotropic")
PROGRAMS = (
    Program("ours", prepare, KINDS),
    Program("ours, 512-bit vectors", prepare_wide, ("langevin", "levy"), wide_absence),
)
