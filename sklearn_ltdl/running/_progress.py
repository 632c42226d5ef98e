"""Progress while the jobs run: one line that is rewritten on a terminal, and a few lines elsewhere."""

import importlib.util
import sys
import time
from collections import defaultdict

from sklearn_ltdl.running._terminal import clean, rewrite, say

SECONDS_BETWEEN_LINES = 30.0
SHARE_BETWEEN_LINES = 0.1


class Progress:
    """Report finished jobs and the time left on stderr.

    Parameters
    ----------
    methods : list of str
        The method of each job that will run.
    verbose : int
        With 0, nothing is printed.
    """

    def __init__(self, methods, verbose):
        self._left = defaultdict(int)
        for method in methods:
            self._left[method] += 1
        self.total, self.done, self._not_done, self._reason = len(methods), 0, 0, ""
        self._seconds = defaultdict(list)
        self._start, self._spent, self._last_line, self._last_done = None, 0.0, -SECONDS_BETWEEN_LINES, 0
        self._verbose, self._terminal = verbose, verbose and sys.stderr.isatty()
        self._bar = _bar(self.total) if self._terminal and self.total else None

    def expect(self, method):
        """Count a job that has come to the others."""
        self.total += 1
        self._left[method] += 1

    def tell(self, method, fold, seconds, failure, compiling=0.0):
        """Count a job that has ended; the seconds of them in which code was compiled do not come again."""
        self.done += 1
        self._left[method] -= 1
        self._seconds[method].append(max(seconds - compiling, 0.0))
        self._spent += seconds
        if self._start is None:  # not when workers were still starting
            self._start = time.monotonic() - seconds
        if not self._verbose:
            return
        outcome = f"failed, {failure}" if failure else f"{seconds:.1f} s"
        text = clean(f"{method}, {fold}: {outcome}")
        rest = "" if self.done == self.total else f", about {_shown(self.seconds_left())} left"
        if self._bar is not None:
            self._bar(self.done, self.total, text + rest, failure)
            return
        line = f"[{self.done:>{len(str(self.total))}}/{self.total}] {text}{rest}"
        if self._terminal:
            rewrite(line, end="\n" if failure or self.done == self.total else "")
            return
        now = time.monotonic()
        due = now - self._last_line >= SECONDS_BETWEEN_LINES
        due |= self.done - self._last_done >= SHARE_BETWEEN_LINES * self.total
        if failure or due or self.done == self.total:
            say(line)
            self._last_line, self._last_done = now, self.done

    def leave(self, method, reason):
        """Count a job that is not done, for a reason that all others that are left share; `close` shows it once."""
        self._left[method] -= 1
        self._not_done, self._reason = self._not_done + 1, reason

    def seconds_left(self):
        """Return the estimated seconds for the remaining jobs, from the mean time of jobs of the same method.

        Compilation does not count.
        """
        every = [second for seconds in self._seconds.values() for second in seconds]
        usual = sum(every) / len(every)
        means = {method: sum(seconds) / len(seconds) for method, seconds in self._seconds.items() if seconds}
        work = sum(left * means.get(method, usual) for method, left in self._left.items())
        return work * (time.monotonic() - self._start) / max(self._spent, 1e-9)  # as parallel as so far

    def close(self):
        """End the line on the terminal, and say which jobs are not done."""
        if self._bar is not None:
            self._bar(None, None, "", None)
        elif self._terminal and 0 < self.done < self.total:
            say("")
        if self._verbose and self._not_done:
            say(f"{self._not_done} of {self.total} fits: {self._reason}.")


def _shown(seconds):
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _bar(total):
    """Return a function that shows a progress bar of rich, or None if rich is not installed."""
    if importlib.util.find_spec("rich") is None:
        return None
    from rich import progress
    from rich.console import Console

    text = progress.TextColumn("{task.description}", markup=False)
    bar = progress.Progress(progress.BarColumn(), progress.MofNCompleteColumn(), text, console=Console(stderr=True))
    task = bar.add_task("", total=total)
    bar.start()

    def show(done, total, text, failure):
        if done is None:
            bar.stop()
            return
        if failure:
            bar.console.print(text, markup=False, highlight=False)
        bar.update(task, completed=done, total=total, description=text)

    return show
