"""The total time counts from the first step, and ends what can be ended."""

import signal
import subprocess
import sys
import time

import pytest

from sklearn_ltdl.running._clock import TimeIsOverError, TotalTime
from sklearn_ltdl.running._pool import run_each
from sklearn_ltdl.running._progress import Progress

POSIX = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")


def test_seconds_count_from_the_beginning():
    clock = TotalTime(100.0, reserved=0.2)
    assert 99.0 < clock.left <= 100.0
    time.sleep(0.2)
    assert clock.left <= 99.8
    assert clock.left_for_fits <= clock.left - 22.9  # the fit after the comparison, and the report
    assert clock.reserving(0.0).left <= 99.8
    assert clock.reserving(0.5).left_for_fits <= clock.left - 52.9
    assert clock.again().left > clock.left + 0.1
    assert TotalTime.of(clock) is clock
    assert TotalTime.of(None).left_for_fits == float("inf")
    assert TotalTime.of(10.0).left_for_fits > 8.9  # a tenth is for the report


def test_no_job_starts_when_the_time_went_by_before():
    clock = TotalTime(0.1)
    time.sleep(0.1)
    results = dict(run_each(time.sleep, [(600.0,), (600.0,)], total_time=clock))
    assert {str(result) for result in results.values()} == {"not run, because the total time of 0.1 s was over"}


def test_what_had_no_time_is_shown_in_one_line(capsys):
    progress = Progress(["linear", "ntk", "rfm"], 1)
    progress.tell("linear", "fold 1", 0.1, None)
    progress.leave("ntk", "stopped at the total time of 9 s")
    progress.leave("rfm", "not run, because the total time of 9 s was over")
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "2 of 3 fits: not run, because the total time of 9 s was over."
    assert len([line for line in lines if "fits" in line or "total time" in line]) == 1


@POSIX
def test_a_step_that_takes_too_long_is_interrupted():
    before = signal.getsignal(signal.SIGALRM)
    reached = []

    def step():
        try:
            while True:
                pass
        except Exception as error:  # of code that goes on after any error
            reached.append(error)

    def work():
        with TotalTime(0.2, interrupts=True).preparation():
            step()

    with pytest.raises(TimeIsOverError, match=r"total time of 0.2 s was over before the first fit.*Give more time"):
        work()
    assert reached == []
    assert signal.getsignal(signal.SIGALRM) is before


@POSIX
def test_no_alarm_rings_once_fits_begin_nor_where_signals_belong_to_others():
    clock = TotalTime(0.2, interrupts=True)
    with clock.preparation():
        clock.end_preparation()
        time.sleep(0.3)
    before = signal.getsignal(signal.SIGALRM)
    with TotalTime(0.2).preparation():
        assert signal.getsignal(signal.SIGALRM) is before
        time.sleep(0.3)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@POSIX
def test_a_table_that_never_ends_ends_with_the_total_time():
    command = [sys.executable, "-m", "sklearn_ltdl.cli", "compare", "-", "--total-time", "3"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        process.stdin.write("a,y\n1,2\n")
        process.stdin.flush()
        errors = process.stderr.read()
    assert process.returncode == 2
    assert "ltdl compare: The total time of 3 s was over before the first fit" in errors
    assert "Traceback" not in errors
