"""What all jobs share is written once, mapped by the workers, and leaves no file behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pandas as pd
import pytest

from sklearn_ltdl.running._pool import run_each


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def described(array, frame, folder):
    """Return what a worker sees."""
    import os

    import numpy as np

    bases = [array, frame["a"].to_numpy()]
    kinds = []
    for base in bases:
        while base is not None and not isinstance(base, np.memmap):
            base = base.base
        kinds.append(base is not None and base.mode == "r")
    sums = float(array.sum()), float(frame["a"].sum()), "".join(frame["text"])
    files = [(root, os.stat(root).st_mode & 0o777, names) for root, _, names in os.walk(folder)]
    return kinds, sums, files


def test_workers_map_one_file_which_is_removed(temporary):
    frame = pd.DataFrame({"a": np.arange(4.0), "text": list("wxyz")})
    shared, jobs = (np.arange(1000.0), frame), [(str(temporary),)] * 5
    results = [result for _, result in run_each(described, jobs, shared=shared, n_jobs=2)]
    for kinds, sums, files in results:
        assert kinds == [True, True]
        assert sums == (499500.0, 6.0, "wxyz")
        _, (folder, mode, names) = files
        assert os.path.basename(folder).startswith("sklearn_ltdl-")
        assert names == ["shared"]
        assert mode == 0o700 or sys.platform == "win32"
    assert os.listdir(temporary) == []


def test_no_file_is_left_by_an_interruption_or_an_error(temporary):
    jobs = run_each(np.dot, [(np.ones(3),)] * 9, shared=(np.ones(3),), n_jobs=2)
    assert next(jobs)[1] == 3.0
    assert len(os.listdir(temporary)) == 1
    jobs.close()  # as an interruption does
    assert os.listdir(temporary) == []
    with pytest.raises(ValueError, match="not aligned"):
        list(run_each(np.dot, [(np.ones(4),)] * 9, shared=(np.ones(3),), n_jobs=2))
    assert os.listdir(temporary) == []


def test_without_a_place_for_the_file_results_are_the_same(temporary, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "missing"))
    assert dict(run_each(np.dot, [(np.ones(3),)] * 2, shared=(np.ones(3),), n_jobs=2)) == {0: 3.0, 1: 3.0}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="sends SIGKILL")
def test_no_file_is_left_by_a_process_that_is_killed(tmp_path):
    code = (
        "import time, numpy as np; from sklearn_ltdl.running._pool import run_each\n"
        "for _ in run_each(np.dot, [(np.ones(3),)] * 2, shared=(np.ones(3),), n_jobs=2):\n"
        "    print(flush=True); time.sleep(600)"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=pipe, stderr=pipe) as process:
        assert process.stdout.readline() == b"\n"
        assert [name for name in os.listdir(tmp_path) if name.startswith("sklearn_ltdl-")]
        process.kill()
        process.stderr.read()  # to the end, which the tracker of resources has as well
    until = time.monotonic() + 60
    while os.listdir(tmp_path) and time.monotonic() < until:
        time.sleep(0.05)
    assert os.listdir(tmp_path) == []
