"""Act at random in a real window, runs held half-way: nothing fails, nothing is left, the input is not touched.

    xvfb-run -a python tools/act_in_window.py --actions 1000            a minute for every 500
    xvfb-run -a python tools/act_in_window.py --actions 1000 --seed 7   the same actions again

The actions are those of tests/window_machine.py, in windows of 50 actions each.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ACTIONS_A_WINDOW = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--actions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None, help="of the actions; by default it is drawn, and told")
    given = parser.parse_args()
    windows = -(-given.actions // ACTIONS_A_WINDOW)
    seed = given.seed if given.seed is not None else int.from_bytes(os.urandom(4))
    start = time.perf_counter()
    # Of pytest come the viewer and the watch over its threads, widgets and warnings.
    test = Path(__file__).parents[1] / "tests" / "test_window_states.py"
    profile = ["--hypothesis-profile", "campaign", "--hypothesis-seed", str(seed), "-p", "no:cacheprovider"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(test), *profile],
        cwd=test.parents[1],
        env={**os.environ, "CASES": str(windows), "CI": "true"},
    )
    seconds = time.perf_counter() - start
    outcome = "nothing was found" if run.returncode == 0 else "something was found, or the window cannot be opened"
    print(f"up to {windows * ACTIONS_A_WINDOW} actions in {windows} windows, seed {seed}, {seconds:.0f} s: {outcome}")
    raise SystemExit(run.returncode)


if __name__ == "__main__":
    main()
