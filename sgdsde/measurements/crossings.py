"""When a curve first reaches its level, as a loss or an accuracy along a run does."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from sgdsde.arguments import array
from sgdsde.measurements.chains import floats

__all__ = ["first_crossing", "halfway_crossing"]


def first_crossing(times: ArrayLike, values: ArrayLike, level: ArrayLike) -> jax.Array:
    """The first time at which `values`, joined by straight lines between records, are at or above `level`.

    times: (num_records,). values: (num_records, ...), one curve in each place of the other axes. level: a number, or
    an array (...). Returns (...): times[0] for a curve that begins at or above its level, NaN for one that never
    reaches it, a censored one, of which only times[-1] < t is known; count those, do not drop them. A value that is
    not a number is below every level; after one the crossing is at the next record, not before. Traceable. For a curve
    that falls to its level give -values and -level. Raises ValueError for other shapes.
    """
    times, values, level = floats("times", times), floats("values", values), array("level", level)
    if times.ndim != 1 or values.shape[:1] != times.shape or times.shape[0] < 1:
        raise ValueError(f"times and values: expected (n,) and (n, ...), n >= 1, got {times.shape, values.shape}")
    try:
        level = jnp.broadcast_to(level.astype(values.dtype), values.shape[1:])
    except ValueError:
        raise ValueError(
            f"level: expected a number or shape {values.shape[1:]}, one level a curve, got {level.shape}"
        ) from None
    reached = values >= level[None]
    place = jnp.argmax(reached, axis=0)
    at = lambda index: jnp.take_along_axis(values, index[None], axis=0)[0]
    before = jnp.maximum(place - 1, 0)
    low, high = at(before), at(place)
    inside = (place > 0) & jnp.isfinite(low) & (high > low)
    share = jnp.where(inside, (level - low) / jnp.where(inside, high - low, 1), 1).astype(times.dtype)
    return jnp.where(reached.any(axis=0), times[before] + share * (times[place] - times[before]), jnp.nan)


def halfway_crossing(times: ArrayLike, losses: ArrayLike, *, rising: bool) -> jax.Array:
    """When a loss is half-way, in its logarithm, from its least value to its end (rising) or from its largest.

    times: (num_records,). losses: (num_records, ...), positive. Returns (...), the `first_crossing` of the geometric
    mean of both after the extreme. Traceable. Raises ValueError as `first_crossing`.
    """
    if not isinstance(rising, bool):
        raise TypeError(f"rising: expected True or False, got {rising!r}")
    times, losses = floats("times", times), floats("losses", losses)
    if times.ndim != 1 or losses.shape[:1] != times.shape or times.shape[0] < 1:
        raise ValueError(f"times and losses: expected (n,) and (n, ...), n >= 1, got {times.shape, losses.shape}")
    logs = jnp.log(losses) * (1 if rising else -1)
    first = jnp.argmin(logs, axis=0)
    lowest = jnp.take_along_axis(logs, first[None], axis=0)[0]
    places = jnp.arange(logs.shape[0], dtype=first.dtype).reshape(-1, *(1,) * (logs.ndim - 1))
    after = jnp.where(places >= first[None], logs, jnp.nan)
    return first_crossing(times, after, (lowest + logs[-1]) / 2)
