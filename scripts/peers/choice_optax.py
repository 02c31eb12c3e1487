"""SGD as anybody writes it in JAX: a scan over the steps, in each `jax.random.choice` of a minibatch and `optax.sgd`;
vmapped over the chains."""

import functools

import jax
import jax.numpy as jnp

from scripts.peers.program import Program, Run

__all__ = ["PROGRAMS"]


def prepare(work, num_chains: int) -> Run:
    import optax

    problem, optimiser = work.problem, optax.sgd(work.learning_rate)

    def batch_loss(params, batch):
        return jnp.mean(jax.vmap(problem.example_loss, in_axes=(None, 0))(params, batch))

    def trained(num_steps, start, key):
        def step(carry, key):
            params, memory = carry
            chosen = jax.random.choice(key, problem.num_examples, (work.batch_size,))
            batch = jax.tree.map(lambda leaf: leaf[chosen], problem.examples)
            updates, memory = optimiser.update(jax.grad(batch_loss)(params, batch), memory, params)
            return (optax.apply_updates(params, updates), memory), None

        carry = (start, optimiser.init(start))
        return jax.lax.scan(step, carry, jax.random.split(key, num_steps))[0][0]

    @functools.partial(jax.jit, static_argnames="num_steps")
    def compiled(start, keys, num_steps):
        return jax.vmap(functools.partial(trained, num_steps), in_axes=(None, 0))(start, keys)

    def run(seed, num_steps):
        keys = jax.random.split(jax.random.key(seed), num_chains)
        return jax.block_until_ready(compiled(work.start(), keys, num_steps))

    return run


PROGRAMS = (Program("scan, choice, optax", prepare, ("sgd",)),)
