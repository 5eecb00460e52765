"""From pixels to a verdict: classifiers, their heads, TaintRadar, CMAG, and the bundled weights."""

import os

# ONNX Runtime (seen in 1.31.1) reports each process to its maker, from a thread of its own, and keeps what could not be
# sent below ~/.cache. Whoever watches cameras asked for nothing of the kind. It looks at this when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
