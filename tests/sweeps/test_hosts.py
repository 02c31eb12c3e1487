"""The same sweep on one device, on four, and on two hosts of one program: the same draws, floats to rounding."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sgdsde import load

ROOT = Path(__file__).parents[2]
SWEEP = ["sweep", str(Path(__file__).with_name("walk.py")), "--over", "learning_rate=0.05,0.1,0.2"]
SWEEP += ["--seeds", "3", "--device", "cpu"]


def start(folder, num_devices, *arguments):
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
        "JAX_PLATFORMS": "cpu",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "sgdsde", *SWEEP, "--output", str(folder), *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
    )  # fmt: skip


def computed(folder, num_devices=1, num_hosts=1, *arguments):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    hosts = [
        start(
            folder, num_devices, *(["--distributed", f"{address},{num_hosts},{i}"] if num_hosts > 1 else []), *arguments
        )
        for i in range(num_hosts)
    ]
    outputs = [host.communicate(timeout=300)[0] for host in hosts]
    assert [host.returncode for host in hosts] == [0] * num_hosts, "\n".join(outputs)
    assert f"{num_devices * num_hosts} cpu" in outputs[0]
    (place,) = (folder / "walk").iterdir()
    return load(place)


@pytest.mark.slow
def test_devices_and_hosts_change_nothing(tmp_path):
    sizes = {"one": (1, 1), "four": (4, 1), "hosts": (2, 2)}
    found = {}
    for name, size in sizes.items():
        (tmp_path / name).mkdir()
        found[name] = computed(tmp_path / name, *size)
    for name in ("four", "hosts"):
        assert found[name].sizes == found["one"].sizes
        for array in ("square", "last", "total"):
            np.testing.assert_allclose(found[name][array], found["one"][array], rtol=2e-5, atol=1e-6, err_msg=name)


def test_hosts_that_do_not_find_each_other_are_one_paragraph(tmp_path):
    from sgdsde.experiment.device import join_hosts
    from sgdsde.experiment.folders import ExperimentError

    for where in ("node0,2,0", "node0:1,2", "node0:1,2,2", "node0:1,two,0"):
        with pytest.raises(ExperimentError, match="--distributed"):
            join_hosts(where)
