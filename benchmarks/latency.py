"""How much each check costs: ratios to the plain forward, all measured in one run.

    python -m benchmarks.latency --model ../shared/data/models/mobilenet_v2_imagenet.onnx [--json F]

`plain_best` is the classifier in the same optimised graph with nothing else asked of it, `plain_file` the user's own
ONNX file on the same runtime; every check's ratios to both are given. `default` is the detector `combined` as the
daemon runs it before live cameras, a mean over benign footage of as many cameras as the batch is large; learnt from
the first half of the footage where the model has no reference. `default_worst` is the same where every frame is of a
new event that deserves a second look: what is over `limits.second_look_share` waits. `tight` and `paper` (K = 9) are
whole checks of fixed inputs. All calls are interleaved, so that whatever else the machine does falls on all alike.
`around` is decoding, preprocessing, judging, vote and publishing of one 640 x 480 frame, without any forward.
"""

from __future__ import annotations

import subprocess
import sys

if __name__ == "__main__":
    if not __package__:  # run as a file: Python then looks beside it for modules, not in the folder it is called from
        sys.exit(subprocess.call([sys.executable, "-m", "benchmarks.latency", *sys.argv[1:]]))
    from benchmarks.scripts import run_main
    from benchmarks.speed.latency_command import main

    sys.exit(run_main(main, "latency"))
