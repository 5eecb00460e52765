"""Lines that native libraries print land in the log, whole, and nowhere between its lines."""

from __future__ import annotations

import json
import subprocess
import sys

CODE = """
import logging, os
from taintwatch.logs import set_up_logging
from taintwatch.native_output import native_lines_to_log
set_up_logging(as_json=True, level=logging.INFO)
with native_lines_to_log():
    for number in range(5):
        os.write(2, b"libpng error: %d\\n" % number)
        logging.getLogger("taintwatch").info("ours %d", number)
os.write(2, b"after\\n")
"""


def test_native_lines_become_lines_of_the_json_log() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=60)
    *lines, last = done.stderr.splitlines()
    messages = [json.loads(line)["message"] for line in lines]
    assert [message for message in messages if message.startswith("ours")] == [f"ours {number}" for number in range(5)]
    native = [message for message in messages if message.startswith("a native library says")]
    assert native == [f"a native library says: libpng error: {number}" for number in range(5)]
    assert last == "after"
