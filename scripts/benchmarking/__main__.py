"""The command behind `scripts/benchmark`: chooses rows, measures one by one, saves after each, prints the table."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.benchmarking import long_run
from scripts.benchmarking.figure import save_figure
from scripts.benchmarking.machine import ROOT, machine, roofline
from scripts.benchmarking.report import mistakes, one_line, table
from scripts.benchmarking.timing import Effort, measured_row
from scripts.benchmarking.workloads import WORKS
from scripts.peers import PROGRAMS


@dataclass(frozen=True)
class Size:
    """How much to measure: numbers of chains of the double well, of the other landscapes and SGD, and of networks,
    which have 512 parameters a chain; the seeds of an experiment; by how much the long run is shortened in each of its
    three lengths."""

    effort: Effort
    double_well: tuple[int, ...]
    others: tuple[int, ...]
    networks: tuple[int, ...]
    seeds: tuple[int, ...]
    shortened: int

    def of(self, name: str) -> tuple[int, ...]:
        if name.startswith("seeds_"):
            return self.seeds
        return self.double_well if name == "double_well" else self.networks if "deep" in name else self.others


SIZES = {
    "full": Size(
        Effort(),
        (256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_000_000),
        (256, 4_096, 65_536),
        (64,),
        (32,),
        shortened=1,
    ),
    "quick": Size(
        Effort(seconds=0.15, compared_chain_steps=2**22), (256, 4_096, 65_536), (4_096,), (64,), (32,), shortened=10
    ),
    "smoke": Size(
        Effort(num_repetitions=1, seconds=0.0, compared_chain_steps=2**14),
        (1_024,),
        (1_024,),
        (1_024,),
        (1_024,),
        shortened=1_000,
    ),
}
PROCESSES = ("first_run", "long_run")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(arguments)
    name_of_size = "smoke" if options.smoke else "quick" if options.quick else "full"
    size = SIZES[name_of_size]
    folder = (
        options.output or ROOT / ("results" if name_of_size == "full" and not options.only else "runs") / "benchmark"
    )
    folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        "machine": machine(),
        "roofline": roofline(),
        "size": name_of_size,
        "num_repetitions": size.effort.num_repetitions,
        "interrupted": False,
        "rows": [],
        "first_run": None,
        "long_run": None,
    }
    try:
        for name in chosen(WORKS, options.only):
            work = WORKS[name]()
            for num_chains in size.of(name):
                row = measured_row(work, num_chains, PROGRAMS, size.effort, say_for_now)
                result["rows"].append(row)
                say(one_line(row))
                save(result, folder)
        processes = chosen(PROCESSES, options.only)
        if "first_run" in processes and (not options.smoke or options.only):
            say_for_now("first runs of the experiments, compilation included")
            result["first_run"] = answer("first_run")
        if "long_run" in processes and (options.full or options.only):
            say_for_now("the long run")
            lengths = [length // size.shortened for length in long_run.LENGTHS]
            result["long_run"] = answer("long_run", *map(str, lengths)) | {"is_asked_size": size.shortened == 1}
    except KeyboardInterrupt:
        result["interrupted"] = True
        say("interrupted; what was measured so far is saved")
    save(result, folder)
    save_figure(result, folder / "figure.png")
    print(table(result))
    say(f"written: {shown(folder)}")
    wrong = mistakes(result["rows"])
    for line in wrong:
        say(line)
    return 130 if result["interrupted"] else int(bool(wrong))


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/benchmark", description="Times sgdsde beside its peers.")
    parser.add_argument("--full", action="store_true", help="also the long run, 1e6 chains x 1e5 steps: minutes")
    parser.add_argument("--quick", action="store_true", help="fewer sizes, shorter repetitions")
    parser.add_argument("--smoke", action="store_true", help="1,024 chains and no time at all: does it run?")
    parser.add_argument("--only", default="", metavar="NAME", help="only works named so, parts of names with commas")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where to write; made if need be")
    options = parser.parse_args(arguments)
    names = [*WORKS, *PROCESSES]
    if not chosen(names, options.only):
        parser.error(f"--only {options.only}: nothing is called so; there are {', '.join(names)}")
    return options


def chosen(names, word: str) -> list[str]:
    return [name for name in names if any(part in name for part in word.lower().split(","))]


def answer(module: str, *arguments: str) -> dict[str, Any]:
    """What a module of this package prints as JSON, run in a process of its own that compiles everything anew."""
    command = [sys.executable, "-m", f"scripts.benchmarking.{module}", *arguments]
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        return {"absent": (done.stderr.strip().splitlines() or ["no reason given"])[-1][:300]}
    return json.loads(done.stdout.splitlines()[-1])


def save(result: dict[str, Any], folder: Path) -> None:
    """table.md and benchmark.json, which is all that the table and the figure are made from."""
    (folder / "benchmark.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / "table.md").write_text(table(result))


def shown(folder: Path) -> str:
    return os.path.relpath(folder) if folder.is_relative_to(ROOT) else str(folder)


def say(text: str) -> None:
    """A line on the error stream, over what was said for now."""
    print(f"\r\033[K{text}" if sys.stderr.isatty() else text, file=sys.stderr, flush=True)


def say_for_now(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text[:100]}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
