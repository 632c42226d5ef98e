"""The small sizes of the benchmarks in one command, and the comparison of two files of its results."""

import importlib.util
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
spec = importlib.util.spec_from_file_location("benchmarks_run", FOLDER / "run.py")
run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)


def results(tmp_path, name, **seconds):
    cases = {case: {"wall": s, "processor": s} if isinstance(s, float) else s for case, s in seconds.items()}
    (tmp_path / name).write_text(json.dumps({"results": cases}))
    return str(tmp_path / name)


def test_every_script_has_a_small_size():
    scripts = {path for path, _ in run.scripts().values()}
    assert len(scripts) > 10
    assert [path.name for path in scripts if '"--quick"' not in path.read_text(encoding="utf-8")] == []
    assert {*run.NEEDS, *run.ARGUMENTS} <= {path.stem for path in scripts}


@pytest.mark.parametrize(
    ("after", "code", "said"),
    [
        ({"sag": 1.4, "rfm": 0.011}, 0, "nothing became slower"),
        ({"sag": 2.0, "rfm": 0.002}, 1, "sag: 1.00 s before, now 2.00 s, 2.0 times as long"),
        ({"sag": {"failed": "no"}, "rfm": 0.002}, 1, "sag: ran before, now fails: no"),
        ({"rfm": 0.002}, 1, "sag: ran before, now fails: no such case"),
        ({"sag": {"skipped": "needs torch"}, "rfm": 0.002}, 0, "nothing became slower"),
    ],
)
def test_what_became_slower_shows(tmp_path, capsys, after, code, said):
    old = results(tmp_path, "old", sag=1.0, rfm=0.002, torch={"skipped": "needs torch"})
    assert run.main(["--compare", old, results(tmp_path, "new", **after)]) == code
    assert capsys.readouterr().out.strip() == said


def test_a_script_that_cannot_run_says_why(tmp_path, monkeypatch):
    monkeypatch.setitem(run.NEEDS, "gone", ("no_such_package",))
    assert run.run_script(Path("gone.py"), (), None, 9) == {"skipped": "needs no_such_package"}
    assert run.run_script(Path("atlas.py"), (run.TABLES,), None, 9) == {"skipped": "needs --data"}
    broken = tmp_path / "broken.py"
    broken.write_text("raise ValueError('no rows')")
    assert run.run_script(broken, (), None, 60) == {"failed": "ValueError: no rows"}
