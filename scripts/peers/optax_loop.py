"""How one repeats a training run over seeds: a Python loop over them, in it a loop over the steps, each a call of a
jitted function that is warm, with `optax.sgd`.

SGD draws its minibatch with `jax.random.choice`. The SDEs are fed to the same optimiser as a gradient with noise:
weighted gradients over all examples (weights (z_i - mean z)/sqrt(n B), z_i ~ N(0, 1), have covariance Sigma/B), or
every example's gradient where a variance is asked for; stable noise is a Gaussian one times sqrt(A) (Kanter 1975).
"""

import jax
import jax.numpy as jnp

from scripts.peers.program import Program, Run

__all__ = ["PROGRAMS"]


def prepare(work, num_chains: int) -> Run:
    import optax

    substeps = work.substeps
    optimiser = optax.sgd(work.learning_rate / substeps)
    direction = DIRECTIONS[work.law]

    @jax.jit
    def step(params, memory, key):
        updates, memory = optimiser.update(direction(work, params, key), memory, params)
        return optax.apply_updates(params, updates), memory

    def run(seed, num_steps):
        final = []
        for chain_key in jax.random.split(jax.random.key(seed), num_chains):
            params = work.start()
            memory = optimiser.init(params)
            for key in jax.random.split(chain_key, num_steps * substeps):
                params, memory = step(params, memory, key)
            final.append(params)
        return jax.block_until_ready(jax.tree.map(lambda *leaves: jnp.stack(leaves), *final))

    return run


def minibatch(work, params, key):
    chosen = jax.random.choice(key, work.problem.num_examples, (work.batch_size,))
    batch = jax.tree.map(lambda leaf: leaf[chosen], work.problem.examples)
    return jax.grad(lambda p: jnp.mean(losses(work, p, batch)))(params)


def anisotropic(work, params, key):
    """Drift and noise in one pass; a microstep's noise is larger by sqrt(substeps) beside its drift."""
    return weighted(work, params, 1 / work.problem.num_examples + work.substeps**0.5 * noise_weights(work, key))


def isotropic(work, params, key):
    """The length of the anisotropic noise in a random direction."""
    weights_key, direction_key = jax.random.split(key)
    length = norm(weighted(work, params, noise_weights(work, weights_key)))
    normals = normals_like(params, direction_key)
    return jax.tree.map(lambda g, z: g + length / norm(normals) * z, drift(work, params), normals)


def diagonal(work, params, key):
    each = every_gradient(work, params)
    return jax.tree.map(
        lambda g, z: g.mean(axis=0) + jnp.sqrt(g.var(axis=0) / work.batch_size) * z, each, normals_like(params, key)
    )


def levy(work, params, key):
    stable_key, normal_key = jax.random.split(key)
    each = every_gradient(work, params)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    variance = sum(g.var(axis=0).sum() for g in jax.tree.leaves(each)) / (size * work.batch_size)
    stretch = jnp.sqrt(variance * one_sided_stable(work, stable_key))
    normals = normals_like(params, normal_key)
    return jax.tree.map(lambda g, z: g.mean(axis=0) + stretch * z, each, normals)


def anisotropic_levy(work, params, key):
    stable_key, weights_key = jax.random.split(key)
    weights = jnp.sqrt(one_sided_stable(work, stable_key)) * noise_weights(work, weights_key)
    return weighted(work, params, 1 / work.problem.num_examples + weights)


def descent(work, params, key):
    return drift(work, params)


DIRECTIONS = {
    "descent": descent,
    "minibatch": minibatch,
    "isotropic": isotropic,
    "levy": levy,
    "diagonal": diagonal,
    "anisotropic levy": anisotropic_levy,
    "anisotropic": anisotropic,
}


def losses(work, params, examples):
    return jax.vmap(work.problem.example_loss, in_axes=(None, 0))(params, examples)


def drift(work, params):
    return jax.grad(lambda p: jnp.mean(losses(work, p, work.problem.examples)))(params)


def weighted(work, params, weights):
    return jax.grad(lambda p: weights @ losses(work, p, work.problem.examples))(params)


def every_gradient(work, params):
    return jax.vmap(jax.grad(work.problem.example_loss), in_axes=(None, 0))(params, work.problem.examples)


def noise_weights(work, key):
    size = work.problem.num_examples
    normals = jax.random.normal(key, (size,), jnp.float32)
    return (normals - normals.mean()) / (size * work.batch_size) ** 0.5


def normals_like(params, key):
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    return structure.unflatten([jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves)])


def norm(tree):
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))


def one_sided_stable(work, key):
    """A > 0 with E exp(-q A) = exp(-q^a), a half of the tail index."""
    angle_key, exponential_key = jax.random.split(key)
    angle = jnp.pi * jax.random.uniform(angle_key, minval=1e-6)
    exponential, a = jax.random.exponential(exponential_key), work.tail_index / 2
    return jnp.sin(a * angle) * jnp.sin(angle) ** (-1 / a) * (jnp.sin((1 - a) * angle) / exponential) ** ((1 - a) / a)


NAME, LARGEST = "loop over seeds and steps, optax", 64
PROGRAMS = (
    Program(NAME, prepare, ("seeds",), max_chains=LARGEST),
    # without noise there is no variance to compare
    Program(NAME, prepare, ("descent",), max_chains=LARGEST, is_same_law=False),
)
