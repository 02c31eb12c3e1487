"""Two full-batch scans by hand: the anisotropic Langevin step as one weighted backward pass, and gradient descent.

With weights w_i = 1/n + (z_i - mean z) / sqrt(n B), z_i ~ N(0, 1), the gradient of sum_i w_i l_i is the full gradient
plus noise of covariance Sigma/B: the law of our anisotropic noise with replacement. With w_i = 1/n it is gradient
descent, which sets what the noise costs in proportion.
"""

import functools

import jax
import jax.numpy as jnp

from scripts.peers.program import Program, Run

__all__ = ["PROGRAMS"]


def prepare(work, num_chains: int, *, is_noisy: bool) -> Run:
    problem, size = work.problem, work.problem.num_examples

    def weights(key):
        mean = jnp.full(size, 1 / size, jnp.float32)
        if not is_noisy:
            return mean
        normals = jax.random.normal(key, (size,), jnp.float32)
        return mean + (normals - normals.mean()) / (size * work.batch_size) ** 0.5

    def weighted_loss(params, weights):
        return weights @ jax.vmap(problem.example_loss, in_axes=(None, 0))(params, problem.examples)

    def descended(num_steps, start, key):
        def step(params, key):
            gradient = jax.grad(weighted_loss)(params, weights(key))
            return jax.tree.map(lambda p, g: p - work.learning_rate * g, params, gradient), None

        return jax.lax.scan(step, start, jax.random.split(key, num_steps))[0]

    @functools.partial(jax.jit, static_argnames="num_steps")
    def compiled(starts, keys, num_steps):
        return jax.vmap(functools.partial(descended, num_steps))(starts, keys)

    # one start for each chain: else all chains of noiseless descent would be known to be the same
    starts = jax.tree.map(lambda leaf: jnp.tile(leaf, (num_chains,) + (1,) * leaf.ndim), work.start())

    def run(seed, num_steps):
        keys = jax.random.split(jax.random.key(seed), num_chains)
        return jax.block_until_ready(compiled(starts, keys, num_steps))

    return run


PROGRAMS = (
    Program("weighted backward pass by hand", functools.partial(prepare, is_noisy=True), ("anisotropic",)),
    Program(
        "full-batch gradient descent", functools.partial(prepare, is_noisy=False), ("anisotropic",), is_same_law=False
    ),
)
