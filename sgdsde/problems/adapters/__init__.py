"""A network of one's own as a Problem: flax (nnx, linen) and equinox. They are imported when one is asked for.

`from_nnx(make_model, example_loss, examples)` and its two sisters return a `Problem` like any other: its params are a
plain dictionary of arrays, each chain starts from weights of its own, and `model_of(problem, params)` gives the network
back, with these weights. Plain functions need nothing of this: `Problem(example_loss, examples, init)`.

Refused, because SGD's noise would not be the mean of independent example gradients: a network whose state changes when
it runs (running statistics of BatchNorm), a batch loss through which examples interact, and dropout without a key.
"""

from sgdsde.problems.adapters.equinox import from_equinox
from sgdsde.problems.adapters.linen import from_linen
from sgdsde.problems.adapters.models import model_of
from sgdsde.problems.adapters.nnx import from_nnx

__all__ = ["from_equinox", "from_linen", "from_nnx", "model_of"]
