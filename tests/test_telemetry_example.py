"""
The example prints the trace that it says it prints.
"""

import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "examples" / "trace_without_collector.py"

EXPECTED = """\
what is an antichain? 3 pages say so
parallel_executor.execute: … ms
  question: … ms
  search: … ms, waited for 1, TimeoutError
  search: … ms, waited for 1
  summaries: … ms, waited for 1
    summaries[0]: … ms
    summaries[1]: … ms
    summaries[2]: … ms
  answer: … ms, waited for 2
"""


def test_the_example_prints_the_trace_as_a_tree() -> None:
    """The failed attempt and the one after it, instances inside their stage, and how many nodes each waited for."""
    done = subprocess.run([sys.executable, "-W", "error", str(EXAMPLE)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.sub(r"\d+\.\d ms", "… ms", done.stdout) == EXPECTED
    milliseconds = [float(text) for text in re.findall(r"(\d+\.\d) ms", done.stdout)]
    # Two at once of three sleeps, all of it inside the run.
    assert milliseconds[0] >= milliseconds[4] >= 19.0


def test_the_example_is_short_and_needs_no_collector() -> None:
    source = EXAMPLE.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 60
    assert "exporter.otlp" not in source
