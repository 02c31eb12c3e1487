"""What a terminal or a system may lack: the command says it in a sentence, or does without."""

import gc
import io
import os
import signal
import sys
import time

import jax
import pytest

from sgdsde.cli import COMMANDS, main
from sgdsde.commands.surroundings import no_interrupt_is_lost
from sgdsde.experiment import ExperimentError
from sgdsde.experiment.device import choose_device
from sgdsde.experiment.folders import check_current_folder


def test_an_ascii_terminal_gets_ascii(monkeypatch, tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "wide.py").write_text('"""Between 1 ± 2 and 3 × 4: naïve."""', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["list"]) == 0
    assert out.buffer.getvalue().decode("ascii") == "wide  Between 1 +- 2 and 3 x 4: na?ve.\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_output_that_cannot_be_written_is_said(monkeypatch, capsys):
    with monkeypatch.context() as patch:
        full = open("/dev/full", "w")  # noqa: SIM115
        patch.setattr(sys, "stdout", full)
        assert main(["--help"]) == 3
        full.close()
    assert "Standard output cannot be written: No space left on device." in " ".join(capsys.readouterr().err.split())


def test_a_deleted_current_folder_is_said(monkeypatch, tmp_path, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["list"]) == 2
    assert "The current folder no longer exists" in capsys.readouterr().err
    with pytest.raises(ExperimentError):
        check_current_folder()


def test_a_defect_is_no_failed_check(monkeypatch, capsys):
    monkeypatch.setitem(COMMANDS, "list", lambda arguments: 1 // 0)
    assert main(["list"]) == 3
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert "This is a fault of sgdsde, or of a package beneath it: ZeroDivisionError" in " ".join(error.split())


def test_an_unknown_command_names_no_hidden_one(capsys):
    assert main(["runn"]) == 2
    error = capsys.readouterr().err
    assert "Did you mean `run`?" in error
    assert "complete," not in error


def collect_and_wait():
    with no_interrupt_is_lost():
        gc.collect()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            time.sleep(0.01)


def test_a_swallowed_interrupt_is_sent_again():
    """A KeyboardInterrupt that is raised in a callback of the garbage collection is only printed by Python."""
    armed = [True]

    def interrupted(phase, details):
        if armed[0] and phase == "start":
            armed[0] = False
            signal.raise_signal(signal.SIGINT)

    gc.callbacks.append(interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            collect_and_wait()
    finally:
        gc.callbacks.remove(interrupted)
    assert not armed[0]


def test_settings_of_jax_with_which_nothing_can_be_computed(monkeypatch):
    with jax.disable_jit(), pytest.raises(ExperimentError, match="JAX_DISABLE_JIT"):
        choose_device(float64=False, device=None)

    def none():
        raise RuntimeError("Unable to initialize backend 'bogus':\n not known")

    monkeypatch.setattr(jax, "devices", none)
    with pytest.raises(ExperimentError, match=r"JAX finds no device.*Unable to initialize backend 'bogus': not known"):
        choose_device(float64=False, device=None)


def test_without_a_home_there_is_no_cache_and_no_harm(monkeypatch):
    from pathlib import Path

    def nobody(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", nobody)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        choose_device(float64=False, device=None)
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
