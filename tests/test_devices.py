"""Where an ensemble runs changes nothing: parts for threads, several devices, several hosts, other settings."""

import os
import socket
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgdsde import devices, recording, simulation
from sgdsde.dynamics.langevin import euler_maruyama
from sgdsde.noise import isotropic
from sgdsde.problem import Problem
from sgdsde.simulation import simulate


def potential(x):
    return jnp.sum((x**2 - 1) ** 2)


def tilted(x, z):
    return potential(x) + z @ x


def position(x):
    return {"x": x, "left": x[0] < 0}


def make():
    z = jnp.array([[1.0, 0.5], [-1.0, -0.5]])
    problem = Problem(tilted, z, lambda key: jax.random.normal(key, (2,)), mean_loss=potential)
    return problem, euler_maruyama(problem, isotropic(problem, variance=4.0), learning_rate=0.05, substeps=2)


@pytest.mark.parametrize("num_chains", [1, 7, 64, 100, 101, 100_003])
@pytest.mark.parametrize("bytes_per_chain", [8, 640, 2**16])
def test_parts_cover_the_chains_once_and_are_nearly_equal(num_chains, bytes_per_chain):
    cuts = devices.parts(num_chains, bytes_per_chain)
    assert [cut.start for cut in cuts] == [0, *(cut.stop for cut in cuts[:-1])]
    assert cuts[-1].stop == num_chains
    assert len({cut.stop - cut.start for cut in cuts}) <= 2
    largest = max(cut.stop - cut.start for cut in cuts)
    assert largest <= max(2 * devices.SMALLEST_PART, devices.BYTES_PER_PART // bytes_per_chain)


@pytest.mark.parametrize("average", [False, True])
def test_parts_give_what_the_whole_gives(key, monkeypatch, average):
    """Three uneven parts beside one: the same chains; moments merged about the common mean, also of booleans."""
    problem, dynamics = make()
    sizes = {"num_steps": 12, "num_chains": 11, "observe": position, "every": 3, "average": average}
    whole = simulate(dynamics, problem.init, key, **sizes)
    monkeypatch.setattr(simulation, "parts", lambda *_: [slice(0, 4), slice(4, 8), slice(8, 11)])
    found = simulate(dynamics, problem.init, key, **sizes)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14), found, whole)


def test_a_diverged_chain_in_one_part_makes_the_average_nan():
    moments = lambda mean: ({"x": np.array([mean], np.float32)}, {"x": np.array([2.0], np.float32)})
    mean, squares = recording.together([moments(1.0), moments(np.nan)], [3, 5], average=True)
    assert np.isnan(mean["x"]).all()
    assert np.isnan(squares["x"]).all()


def test_moments_of_parts_are_those_of_the_whole(key):
    sample = np.asarray(jax.random.normal(key, (17, 2))) + 1e3
    of = lambda rows: (rows.mean(axis=0)[None], ((rows - rows.mean(axis=0)) ** 2).sum(axis=0)[None])
    found = recording.together([of(sample[:5]), of(sample[5:])], [5, 12], average=True)
    np.testing.assert_allclose(found[0], of(sample)[0], rtol=1e-14)
    np.testing.assert_allclose(found[1], of(sample)[1], rtol=1e-9)


def test_a_thread_runs_in_the_precision_of_the_one_that_asked(key):
    """float32 by a context that threads do not inherit: what they run was compiled before."""
    with jax.enable_x64(False):
        dynamics = make()[1]
        found = simulate(
            dynamics, jnp.ones(2), jax.random.key(0), num_steps=4, num_chains=128, observe=position, every=2
        )
    assert found.observed["x"].dtype == jnp.float32


def test_ctrl_c_waits_for_the_parts_under_way():
    """What runs is finished first, so that the ensemble is whole when it is given back."""
    finished, release = [], threading.Event()

    def slow(_):
        release.wait(10)
        finished.append(1)
        return np.zeros(())

    waits = []

    def wait(running):
        waits.append(1)
        if len(waits) == 1:
            release.set()
            raise KeyboardInterrupt
        return real_wait(running)

    real_wait = devices.wait
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "wait", wait)
        with pytest.raises(KeyboardInterrupt):
            devices.run_all([(slow, (0,)), (slow, (1,))])
    assert len(finished) == 2


ELSEWHERE = """
import sys
import jax
import numpy as np
count, place, address, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
if address:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, 2, place)
import jax.numpy as jnp
from sgdsde.dynamics.langevin import euler_maruyama
from sgdsde.noise import isotropic
from sgdsde.problem import Problem
from sgdsde.simulation import simulate

assert len(jax.devices()) == count

def potential(x):
    return jnp.sum((x**2 - 1) ** 2)

def position(x):
    return x

z = jnp.array([[1.0, 0.5], [-1.0, -0.5]])
problem = Problem(lambda x, z: potential(x) + z @ x, z, lambda key: jax.random.normal(key, (2,)), mean_loss=potential)
dynamics = euler_maruyama(problem, isotropic(problem, variance=4.0), learning_rate=0.05, substeps=2)
sizes = dict(num_chains=12, observe=position, every=5)
first = simulate(dynamics, problem.init, jax.random.key(0), num_steps=10, **sizes)
second = simulate(dynamics, first, jax.random.key(0), num_steps=10, **sizes)
mean, error = simulate(dynamics, first, jax.random.key(0), num_steps=10, average=True, **sizes).observed
assert len(second.params.sharding.device_set) == count, second.params.sharding
if place == 0:
    np.savez(folder + "/found", observed=second.observed, mean=mean, error=error)
"""


def run_elsewhere(folder, *, num_devices, num_hosts):
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices // num_hosts}",
        "JAX_ENABLE_X64": "0",
        "JAX_PLATFORMS": "cpu",
    }
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}" if num_hosts > 1 else ""
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", ELSEWHERE, str(num_devices), str(place), address, str(folder)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for place in range(num_hosts)
    ]  # fmt: skip
    outputs = [host.communicate(timeout=240)[0] for host in hosts]
    assert all(host.returncode == 0 for host in hosts), outputs
    with np.load(folder / "found.npz") as found:
        return dict(found)


@pytest.mark.slow
@pytest.mark.parametrize(("num_devices", "num_hosts"), [(4, 1), (2, 2)])
def test_devices_and_hosts_change_nothing(tmp_path, num_devices, num_hosts):
    (tmp_path / "one").mkdir()
    one = run_elsewhere(tmp_path / "one", num_devices=1, num_hosts=1)
    several = run_elsewhere(tmp_path, num_devices=num_devices, num_hosts=num_hosts)
    for name, expected in one.items():
        np.testing.assert_allclose(several[name], expected, rtol=2e-5, atol=1e-6)
