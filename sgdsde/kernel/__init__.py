"""Many microsteps of many chains in one launch on a GPU, for any step that is arithmetic on scalars.

A step of a small problem is about a hundred instructions, but as a loop of XLA's it is several kernels, each of which
takes microseconds to start and passes the state through memory. Here a block of chains keeps its state in registers,
draws its random numbers where it uses them, and loops inside of one kernel.
"""

from sgdsde.kernel.chains import kernel_for
from sgdsde.kernel.launch import NEVER, run_kernel
from sgdsde.kernel.primitives import refused_primitives

__all__ = ["NEVER", "kernel_for", "refused_primitives", "run_kernel"]
