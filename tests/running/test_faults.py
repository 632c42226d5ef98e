"""Faults injected: whatever is killed, full or locked, nothing that was done is lost and nothing is left behind."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_ltdl import compare
from sklearn_ltdl.cli import main
from sklearn_ltdl.running._journal import Journal
from sklearn_ltdl.running._pool import run_each

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")
X, Y = load_diabetes(return_X_y=True)
LTDL = [sys.executable, "-c", "import sys; from sklearn_ltdl.cli import main; sys.exit(main())"]
COMMAND = [*LTDL, "compare", "diabetes", "--models", "linear", "--cv", "4", "--repeats", "15", "--n-jobs", "2"]


def outcome(comparison):
    rows = [{k: v for k, v in row.items() if not k.endswith("seconds")} for row in comparison.results]
    return comparison.verdict, rows, comparison.evidence


def written(path):
    """Return what a JSON file of the command says, but for times and how the command was called."""
    text = re.sub(r'"\w+_seconds": [\d.e+-]+', '"seconds": 0', path.read_text())
    return {name: value for name, value in json.loads(text).items() if name != "settings"}


def descendants(parent):
    """Return the processes that a process started, and those that they started."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = stat.read_text().partition(" (")
        except OSError:  # it ended
            continue
        children.setdefault(int(rest.rpartition(")")[2].split()[1]), []).append(int(pid))
    found, waiting = [], [parent]
    while waiting:
        new = children.get(waiting.pop(), [])
        found += new
        waiting += new
    return found


def alive(pid):
    """Return whether a process runs; one that has ended, and that nobody asked about, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def left_of(pids):
    """Return the processes that are there after a while."""
    end = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return [pid for pid in pids if alive(pid)]


@LINUX
def test_a_command_that_is_killed_leaves_no_process_and_goes_on_where_it_was(tmp_path):
    journal, out = tmp_path / "run.jsonl", tmp_path / "out.json"
    process = subprocess.Popen([*COMMAND, "--journal", journal], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not journal.exists() or journal.read_bytes().count(b"\n") < 10:
        assert process.poll() is None
        time.sleep(0.01)
    workers = descendants(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(workers) >= 2
    assert left_of(workers) == []
    known = Journal(journal).results
    assert 9 <= len(known) < 120
    resumed = subprocess.run(
        [*COMMAND, "--journal", journal, "--json", out], stderr=subprocess.PIPE, text=True, check=True
    )
    assert f"{len(known)} of 120 fits are in " in resumed.stderr
    assert Journal(journal).results.items() >= known.items()
    assert len(Journal(journal).results) == 121
    assert main([*map(str, COMMAND[3:-1]), "1", "--json", str(tmp_path / "whole.json")]) == 0
    assert written(out) == written(tmp_path / "whole.json")


@LINUX
def test_workers_in_compiled_code_that_keeps_the_interpreter_end_with_their_parent(tmp_path):
    job = f"[open(__import__('os').path.join({str(tmp_path)!r}, str(__import__('os').getpid())), 'w').close(), "
    job += "__import__('ctypes').PyDLL(None).sleep(600)]"  # without letting go of the interpreter
    code = f"from sklearn_ltdl.running._pool import run_each; list(run_each(eval, [({job!r},)] * 2, n_jobs=2))"
    process = subprocess.Popen([sys.executable, "-c", code])
    while len(pids := [int(path.name) for path in tmp_path.glob("[0-9]*")]) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    everything = {*descendants(process.pid), *pids}
    process.kill()
    process.wait()
    assert left_of(everything) == []


@LINUX
def test_a_job_that_is_parallel_itself_starts_no_process():
    search = GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=3, n_jobs=2)
    jobs = [(_fit_and_count, search), (_fit_and_count, search)]
    assert dict(run_each(_call, jobs, n_jobs=2)) == {0: [], 1: []}


def _call(function, *arguments):
    return function(*arguments)


def _fit_and_count(search):
    search.fit(X, Y)
    return descendants(os.getpid())


def killer(marker, sign):
    """Return a regressor whose first fit kills its process."""

    def kill_once(table, marker=str(marker), sign=int(sign)):
        import os

        if not os.path.exists(marker):
            open(marker, "x").close()
            os.kill(os.getpid(), sign)
        return table

    return make_pipeline(FunctionTransformer(kill_once), Ridge())


@POSIX
def test_a_worker_that_is_killed_loses_one_fit_which_the_next_run_does(tmp_path):
    journal, also = tmp_path / "run.jsonl", {"mine": killer(tmp_path / "killed", signal.SIGKILL)}
    options = {"models": ["linear"], "also": also, "cv": 3, "journal": journal}
    first = compare(X, Y, **options, n_jobs=2)
    assert (tmp_path / "killed").exists()
    assert first.failed == ["mine"]
    assert "the worker process died" in first.methods[2]["failure"]
    known = Journal(journal).results
    assert len(known) == 9  # eight fits, and the importance of columns
    again = compare(X, Y, **options, n_jobs=2)
    assert Journal(journal).results.items() >= known.items()
    assert len(Journal(journal).results) == 10
    assert outcome(again) == outcome(compare(X, Y, models=["linear"], also=also, cv=3))


@POSIX
@pytest.mark.parametrize("size", [0, 10, 60, 2000, 9000])
def test_a_full_disk_keeps_what_is_in_the_journal(size, tmp_path):
    import resource

    journal, options = tmp_path / "run.jsonl", {"models": ["linear"], "cv": 3}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with pytest.raises(OSError, match=r"journal .*run\.jsonl: cannot be written \(File too large\)\. .*free some"):
            compare(X, Y, **options, journal=journal)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert journal.stat().st_size == size
    kept = Journal(journal)
    assert len(kept.results) == {9000: 2}.get(size, 0)
    if kept.dropped:
        with pytest.warns(UserWarning, match="1 line is ignored"):
            resumed = compare(X, Y, **options, journal=journal)
    else:
        resumed = compare(X, Y, **options, journal=journal)
    assert outcome(resumed) == outcome(compare(X, Y, **options))
    assert len(Journal(journal).results) == 7  # six fits, and the importance of columns
    assert Journal(journal).results.items() >= kept.results.items()


@pytest.fixture
def locked(tmp_path):
    """A folder with a journal that may be read but not written to, for root as well, who becomes nobody."""
    folder, root = tmp_path / "locked", hasattr(os, "geteuid") and os.geteuid() == 0
    folder.mkdir()
    Journal(folder / "run.jsonl").add("one", {})
    (folder / "run.jsonl").chmod(0o444)
    folder.chmod(0o555)
    opened = [parent for parent in tmp_path.parents if root and parent.stat().st_mode & 0o005 != 0o005]
    for parent in (tmp_path, *opened):
        parent.chmod(parent.stat().st_mode | 0o055)
    if root:
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
    folder.chmod(0o755)
    for parent in (tmp_path, *opened):
        parent.chmod(0o700)


@POSIX
@pytest.mark.parametrize("name", ["run.jsonl", "new.jsonl"])
def test_a_journal_that_is_read_only_is_told_before_the_work(name, locked, capsys):
    before = (locked / "run.jsonl").read_bytes()
    options = ["--models", "linear", "--n-jobs", "1", "--journal", str(locked / name)]
    assert main(["compare", "diabetes", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"ltdl compare: --journal {locked / name}: expected a file in a folder that exists and can")
    assert error.count("\n") == 1
    with pytest.raises(OSError, match=rf"journal .*{name}: cannot be written \(Permission denied\).*name a file in"):
        Journal(locked / name)
    assert [path.name for path in locked.iterdir()] == ["run.jsonl"]
    assert (locked / "run.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(bytes(20_000_000)),
        gzip.compress(b"a,b\n" + b"0" * 20_000_000),
        b"x" * 20_000_000,
        b"x," * 1_000_000,
        b"a,b\n" + b"1," * 1_000_000,
        b"a,b\n1,2\n" * 5 + b'"' + b"x" * 20_000_000,
        b"a,b\n1,2\n" * 5 + bytes(20_000_000),
    ],
    ids=["zeros", "zeros below a header", "one line", "a header", "one row", "an open quote", "nulls below rows"],
)
def test_a_file_of_zeros_and_one_huge_line_are_one_sentence(content, tmp_path, capsys):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    assert main(["compare", str(path), "--models", "linear", "--cv", "2", "--n-jobs", "1"]) == 2
    error = capsys.readouterr().err
    assert f"{path}" in error or "ltdl compare: " in error
    assert "Traceback" not in error
    assert len(error) < 3000


@POSIX
def test_two_processes_share_a_new_journal(tmp_path):
    journal, outs = tmp_path / "run.jsonl", [tmp_path / "1.json", tmp_path / "2.json"]
    command = [*COMMAND[:-1], "1", "--journal", journal]
    both = [
        subprocess.Popen([*command, "--json", out], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) for out in outs
    ]
    assert [process.communicate()[1:] and process.returncode for process in both] == [0, 0]
    kept = Journal(journal)
    assert kept.dropped == {}
    assert len(kept.results) == 121  # with the importance of columns
    assert written(outs[0]) == written(outs[1])
    # who looks at the last byte while the other writes takes it for the middle of a line, and begins on a new one
    lines = [line for line in journal.read_text().splitlines() if line]
    assert all(line.endswith("}") for line in lines)
    assert 1 + 121 <= len(lines) <= 1 + 2 * 121  # a line above, and each fit once or twice
