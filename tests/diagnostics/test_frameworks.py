"""The code of the guide's page on frameworks, run where the framework is installed."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "frameworks.md"
NEEDED = {
    "PyTorch": ["torch"],
    "skorch": ["torch", "skorch"],
    "Lightning": ["torch", "lightning"],
    "Flax NNX": ["flax", "optax"],
    "Equinox": ["equinox"],
    "Keras 3 on JAX": ["keras"],
}
FENCE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def sections():
    """Return the code of the page by heading, and that of its beginning."""
    beginning, *parts = PAGE.read_text(encoding="utf-8").split("\n## ")
    return {part.partition("\n")[0]: FENCE.search(part)[1] for part in parts}, FENCE.search(beginning)[1]


def test_the_page_has_a_section_for_each_framework():
    assert [*sections()[0]] == [*NEEDED]


@pytest.mark.parametrize("framework", NEEDED)
def test_the_code_of_the_guide_gives_a_report(framework):
    missing = [name for name in NEEDED[framework] if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    found, beginning = sections()
    check = (
        "assert report.verdict in ('lazy', 'between', 'features')\n"
        "assert report.diagnostics['displacement'] > 0\n"
        "assert report.diagnostics['score_network'] > -1\n"
        "assert not [note for note in report.notes if 'are probably not' in note or 'plain gradients' in note]\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", beginning + found[framework] + check],
        env=os.environ | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
