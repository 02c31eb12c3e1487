"""A function of small arrays as scalar arithmetic, so that over many chains every number is one contiguous vector.

Under vmap an array of a few coordinates puts its coordinates beside the chains, and slices, pads and reversals move
memory instead of computing. Here the function is traced once and its jaxpr is interpreted with every small array of a
chain unrolled into scalars: what moves elements becomes indexing done while tracing, and only arithmetic is left.
"""

from sgdsde.scalars.boxes import arrays_of, boxes_like, scalars_of, vectors_of
from sgdsde.scalars.form import ScalarForm, scalar_form
from sgdsde.scalars.reads import repeats_reads

__all__ = ["ScalarForm", "arrays_of", "boxes_like", "repeats_reads", "scalar_form", "scalars_of", "vectors_of"]
