"""A group of points as one program: `run` of the experiment over many items at once, on all devices of all hosts.

An item is a point and a seed. Floats of the Config and seeds are arguments of the program, so that one compilation
serves all of them; an item's numbers depend on its own values and seed alone, whatever is computed beside it.
"""

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from sgdsde.devices import CHAINS, executable, num_cores, on_mesh, run_all, to_host
from sgdsde.memory import shortage
from sgdsde.sweeps.footprints import PROBE, footprint
from sgdsde.sweeps.plan import Group, Sweep, is_traced_field

SMALLEST_PART = 2
"""items for which a second thread is worth its start"""


@dataclasses.dataclass(frozen=True)
class Items:
    """Points and seeds of one group, in the order in which they are computed."""

    places: Sequence[tuple[int, ...]]
    seeds: Sequence[int]

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, cut: slice) -> "Items":
        return Items(self.places[cut], self.seeds[cut])


def traced_fields(sweep: Sweep, group: Group) -> list[str]:
    """The swept fields that are arguments of the group's program."""
    return [name for name in sweep.fields if name not in group.static and is_traced_field(sweep.config, name)]


def vectorised_run(sweep: Sweep, group: Group) -> Callable:
    """(values of the traced fields, key words, seeds), each with a leading axis of items -> named arrays with it."""
    config = sweep.config_at(group.places[0])
    return jax.vmap(functools.partial(_run_one, sweep.experiment.run, config))


def _run_one(run: Callable, config: Any, values: Mapping[str, Any], words: Any, seed: Any) -> dict[str, Any]:
    config = copy.copy(config)
    for name, value in values.items():  # past the Config's own checks: every point has passed them as numbers
        object.__setattr__(config, name, value if value.ndim == 0 else tuple(value))
    object.__setattr__(config, "seed", seed)
    return {name: jnp.asarray(array) for name, array in run(config, jax.random.wrap_key_data(words)).items()}


def arguments_of(sweep: Sweep, group: Group, items: Items) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """The arguments of `vectorised_run` for some items, as NumPy arrays."""
    real = jnp.result_type(float)
    rows = [sweep.values_at(place) for place in items.places]
    values = {name: np.array([row[name] for row in rows], real) for name in traced_fields(sweep, group)}
    words = {seed: np.asarray(jax.random.key_data(jax.random.key(seed))) for seed in set(items.seeds)}
    return values, np.stack([words[seed] for seed in items.seeds]), np.array(items.seeds, np.uint32)


def footprint_of(sweep: Sweep, group: Group) -> tuple[float, float]:
    """(bytes shared, bytes per item) of the group's run, from its trace; raises what `run` raises for these values."""
    items = Items([group.places[0]] * PROBE, [sweep.config.seed] * PROBE)
    return footprint(vectorised_run(sweep, group), arguments_of(sweep, group, items))


class Program:
    """The compiled run of one group, for up to `size` items at once: all devices share them, or the cores of a CPU.

    It is compiled when it is first called, and again, for half as many items, where it does not fit into memory.
    `in_background` calls a function and returns its result; the sweep's stays ready for Ctrl-C meanwhile.
    """

    def __init__(self, sweep: Sweep, group: Group, size: int, in_background: Callable[[Callable], Any]):
        self.sweep, self.group, self.in_background = sweep, group, in_background
        self.num_compilations = 0
        self._run = vectorised_run(sweep, group)
        self._resize(size)

    def _resize(self, size: int) -> None:
        """Every device, or every core, takes as many items."""
        devices = jax.devices()
        self._mesh = Mesh(np.array(devices), (CHAINS,)) if len(devices) > 1 else None
        on_cores = max(1, min(num_cores(), size // SMALLEST_PART)) if jax.default_backend() == "cpu" else 1
        self._shares = on_cores if self._mesh is None else len(devices)
        self.size = -(-size // self._shares) * self._shares
        self._compiled: Callable | None = None

    def move_to(self, sweep: Sweep, group: Group) -> None:
        """Another sweep's group, which differs in values of traced fields alone: nothing is compiled."""
        self.sweep, self.group = sweep, group

    def __call__(self, items: Items) -> tuple[dict[str, np.ndarray], dict[int, str]]:
        """Named arrays with a leading axis of items, and the reasons of those that could not be computed (whose
        entries are zero); no arrays where that is all of them."""
        found: list[tuple[slice, dict[str, np.ndarray]]] = []
        failures, start = {}, 0
        while start < len(items):
            cut = slice(start, min(start + self.size, len(items)))
            try:
                found.append((cut, self._computed(items[cut])))
            except Exception as error:
                if not _is_out_of_memory(error):
                    raise
                if self.size > self._fewest():
                    self._resize(self.size // 2)
                    continue
                failures |= dict.fromkeys(range(cut.start, cut.stop), f"out of memory: {_first_line(error)}")
            start = cut.stop
        arrays = {}
        for name, like in found[0][1].items() if found else ():
            arrays[name] = np.zeros((len(items), *like.shape[1:]), like.dtype)
            for cut, some in found:
                arrays[name][cut] = some[name]
        return arrays, failures

    def _fewest(self) -> int:
        return 1 if self._mesh is None else self._shares

    def prepare(self, items: Items) -> None:
        """Compile, which the first call does otherwise."""
        self._compiled = self._compiled or self._compile(self._arguments(items)[0])

    def _arguments(self, items: Items) -> list[tuple]:
        """Of each share, with the last item again where there are fewer than `size`."""
        missing = self.size - len(items)
        filled = Items([*items.places, *[items.places[-1]] * missing], [*items.seeds, *[items.seeds[-1]] * missing])
        return self._parts(arguments_of(self.sweep, self.group, filled))

    def _computed(self, items: Items) -> dict[str, np.ndarray]:
        parts = self._arguments(items)
        compiled = self._compiled = self._compiled or self._compile(parts[0])
        results = self.in_background(lambda: [to_host(part) for part in run_all([(compiled, part) for part in parts])])
        return {name: np.concatenate([part[name] for part in results])[: len(items)] for name in results[0]}

    def _parts(self, arguments: tuple) -> list[tuple]:
        """The arguments laid over the devices; for a single one, cut into the shares of its cores."""
        if self._mesh is not None:
            return [on_mesh(arguments, self._mesh, split=True)]
        step = self.size // self._shares
        cuts = [slice(i * step, (i + 1) * step) for i in range(self._shares)]
        return [jax.tree.map(lambda leaf, cut=cut: jnp.asarray(leaf[cut]), arguments) for cut in cuts]

    def _compile(self, arguments: tuple) -> Callable:
        run = self._run
        if self._mesh is not None:  # each device runs its own items, and nothing is exchanged
            spec = PartitionSpec(CHAINS)
            run = jax.shard_map(run, mesh=self._mesh, in_specs=spec, out_specs=spec, check_vma=False)
        self.num_compilations += 1
        compiled = executable(run, arguments, donated=())
        _check_memory(compiled, self._shares if jax.default_backend() == "cpu" else 1)
        return compiled


def _check_memory(compiled: Any, num_at_once: int) -> None:
    """Raise MemoryError where a compiled function, `num_at_once` times side by side, needs more than is free: a CPU's
    system would kill the process instead."""
    lacking = shortage(compiled, num_at_once)
    if lacking is not None:
        _, needed, free = lacking
        raise MemoryError(f"{needed / 2**30:.3g} GiB are needed, {free / 2**30:.3g} GiB are free")


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
