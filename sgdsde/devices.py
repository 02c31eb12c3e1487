"""Where an ensemble runs: on every core of a CPU, or on all accelerators that there are, on one host or several.

On a CPU a loop of small operations keeps one core busy, whatever their number: so the chains are cut into parts, one
compiled function runs each, and a thread for each core takes part after part. Accelerators share one program instead,
each with its share of the chains. Draws belong to chains, so none of this changes them.
"""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.extend.core import jaxprs_in_params
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.tree_util import tree_map

__all__ = [
    "CHAINS",
    "ClosesOverTraced",
    "agreed",
    "as_arrays",
    "chains_at_once",
    "executable",
    "has_kernels",
    "mesh_for",
    "num_cores",
    "on_mesh",
    "parts",
    "run_all",
    "to_host",
]

CHAINS = "chains"
"""the name of the mesh axis over devices"""
SMALLEST_PART = 32
"""chains for which a second thread is worth its start"""
BYTES_PER_PART = 2**24
"""of one block's random numbers: a core's part of more chains is cut, so that the last to finish is not long alone"""
BYTES_PER_GROUP = 2**19
"""of one block's random numbers: what stays in a core's second cache"""
MULTIPLE = 64
"""chains in a loop's iteration with the widest vectors; the rest of a group is taken one by one"""


class ClosesOverTraced(Exception):
    """A function holds a value that something else traces (a schedule made of a rate that is being vmapped): what is
    compiled ahead has no place for it."""


def parts(num_chains: int, bytes_per_chain: int) -> list[slice]:
    """The chains cut for the cores of a CPU: parts of equal size where a divisor allows it."""
    if jax.default_backend() != "cpu" or len(jax.devices()) > 1:
        return [slice(0, num_chains)]
    wanted = max(1, min(num_cores(), num_chains // SMALLEST_PART))
    cached = max(SMALLEST_PART, BYTES_PER_PART // max(1, bytes_per_chain))
    wanted = max(wanted, wanted * -(-num_chains // (cached * wanted)))
    count = next((p for p in range(wanted, 2 * wanted) if num_chains % p == 0), wanted)
    size = -(-num_chains // count)
    return [slice(start, min(start + size, num_chains)) for start in range(0, num_chains, size)]


def chains_at_once(num_chains: int, bytes_per_chain: int) -> int:
    """How many chains a core of a CPU had better advance together: so few that a block of their random numbers stays in
    cache, and a multiple of what its vectors hold; all of them on other devices."""
    cached = max(SMALLEST_PART, BYTES_PER_GROUP // max(1, bytes_per_chain))
    if jax.default_backend() != "cpu" or num_chains <= cached:
        return num_chains
    share = -(-num_chains // -(-num_chains // cached))  # of groups as equal as possible
    return min(num_chains, -(-share // MULTIPLE) * MULTIPLE)


def mesh_for(num_chains: int) -> Mesh | None:
    """The largest number of devices that divides the chains; None if that is one. Several hosts use all their devices:
    raises ValueError where those do not divide the chains."""
    devices = jax.devices()
    share = max(count for count in range(1, len(devices) + 1) if num_chains % count == 0)
    if jax.process_count() > 1 and share < len(devices):
        raise ValueError(
            f"num_chains: {num_chains} chains cannot be shared equally by the {len(devices)} devices of "
            f"{jax.process_count()} hosts; take a multiple of {len(devices)}"
        )
    return Mesh(np.array(devices[:share]), (CHAINS,)) if share > 1 else None


def has_kernels() -> bool:
    """Whether the devices are GPUs for which there are kernels: NVIDIA's from the Hopper generation on."""
    device = jax.devices()[0]
    return device.platform == "gpu" and float(getattr(device, "compute_capability", None) or 0) >= 9


def on_mesh(tree: Any, mesh: Mesh, *, split: bool) -> Any:
    """The arrays on all devices of a mesh: split along their first axis, the chains, or whole on each. Every host must
    hold the same values; what is spread over several hosts already stays where it is."""
    sharding = NamedSharding(mesh, PartitionSpec(CHAINS) if split else PartitionSpec())

    def placed(leaf):
        if not leaf.is_fully_addressable:
            return leaf
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(placed(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        values = np.asarray(leaf)
        return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])

    return tree_map(placed, as_arrays(tree))


def to_host(tree: Any) -> Any:
    """NumPy arrays, gathered from all hosts where the devices of one hold only a part."""

    def gathered(leaf):
        if getattr(leaf, "is_fully_addressable", True) or leaf.is_fully_replicated:
            return np.asarray(leaf)
        return multihost_utils.process_allgather(leaf, tiled=True)

    return tree_map(gathered, tree)


def agreed(number: int) -> int:
    """The first host's number, on every host: what is decided by the clock must be decided once."""
    return number if jax.process_count() == 1 else int(multihost_utils.broadcast_one_to_all(np.int64(number)))


def executable(function: Callable, arguments: tuple, *, donated: int | tuple[()], **static: Any) -> Callable:
    """The function compiled for arguments like these, for any thread to call with `as_arrays(arguments)`. The argument
    at the place `donated`, unless that is (), may not be used afterwards: the result takes its memory.

    Compiled ahead, because a thread does not see the settings of the one that started it (`jax.enable_x64()` and the
    like), and because only the outermost function may choose the compiler's options: the width of vectors on a CPU.
    Raises ClosesOverTraced where that cannot be.
    """
    settings: Any = jax.config
    leaves, structure = jax.tree.flatten(as_arrays(arguments))
    shapes = tuple(_shape(leaf) for leaf in leaves)
    what_counts = (settings.jax_enable_x64, settings.jax_numpy_dtype_promotion, settings.jax_numpy_rank_promotion,
                   settings.jax_default_matmul_precision, settings.jax_debug_nans, jax.default_backend())  # fmt: skip
    return _compiled(function, structure, shapes, donated, tuple(sorted(static.items())), what_counts)


@functools.lru_cache(maxsize=64)
def _compiled(function, structure, shapes, donated, static, settings):
    jitted = jax.jit(functools.partial(function, **dict(static)), donate_argnums=donated)
    traced = jitted.trace(*structure.unflatten(shapes))
    if len(traced.jaxpr.in_avals) > len(shapes):
        raise ClosesOverTraced
    on_cpu = jax.default_backend() == "cpu"
    width = 256 if on_cpu and _steps_multiply_matrices(getattr(traced.jaxpr, "jaxpr", traced.jaxpr)) else 512
    return traced.lower().compile(compiler_options={"xla_cpu_prefer_vector_width": str(width)} if on_cpu else None)


def _steps_multiply_matrices(jaxpr: Any, depth: int = 0) -> bool:
    """Whether a loop within a loop holds a product of matrices: a step, where the outer loop is that over records.

    XLA computes a small product in tiles of one vector, and what does not fill a tile number by number: ten columns,
    with 512-bit vectors, all of them.
    """
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general" and depth > 1:
            return True
        inside = depth + (equation.primitive.name in ("while", "scan"))
        if any(_steps_multiply_matrices(inner, inside) for inner in jaxprs_in_params(equation.params)):
            return True
    return False


def as_arrays(tree: Any) -> Any:
    """Python numbers as arrays that still take the precision of what they meet."""
    return tree_map(lambda leaf: leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf), tree)


def _shape(leaf):
    sharding = leaf.sharding if isinstance(leaf.sharding, NamedSharding) else None
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding, weak_type=getattr(leaf, "weak_type", False))


def run_all(calls: list[tuple[Callable, tuple]]) -> list:
    """The results of functions on their arguments, each on a thread of its own as cores allow, waited for. A Ctrl-C
    meanwhile is raised when all are done, a second one at once."""
    one = lambda call: jax.block_until_ready(call[0](*call[1]))
    if len(calls) == 1:
        return [one(calls[0])]
    with ThreadPoolExecutor(min(len(calls), num_cores())) as pool:
        running = [pool.submit(one, call) for call in calls]
        try:
            wait(running)
        except KeyboardInterrupt:
            wait(running)
            raise
        return [done.result() for done in running]


def num_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
