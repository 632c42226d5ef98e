"""The time that a whole run may take, which counts from its first step."""

import math
import signal
import threading
import time
from contextlib import contextmanager

from sklearn_ltdl.running._interruption import Alarm

REPORT_SHARE, REPORT_SECONDS = 0.1, 3.0  # that are kept for the report: this share, but at most so many seconds


class TimeIsOverError(RuntimeError):
    """The time was over before any fit could start."""


class TotalTime(float):
    """A number of seconds that a run may take, and the moment from which they count.

    Parameters
    ----------
    seconds : float
        Infinite for no limit.
    interrupts : bool, default=False
        Whether `preparation` is interrupted by a signal. This is for a program of our own: a signal has one handler.
    reserved : float, default=0.0
        Share of the time that is kept for what comes after these fits.
    """

    def __new__(cls, seconds, *, interrupts=False, reserved=0.0):
        clock = super().__new__(cls, seconds)
        clock._interrupts, clock._reserved = interrupts, reserved
        clock._began, clock._armed = time.monotonic(), False
        return clock

    @classmethod
    def of(cls, seconds):
        """Return a total time that counts from now, unless one is given; None is no limit."""
        return seconds if isinstance(seconds, cls) else cls(math.inf if seconds is None else seconds)

    def again(self):
        """Return the same total time, counted from now."""
        return type(self)(self, interrupts=self._interrupts, reserved=self._reserved)

    def reserving(self, share):
        """Return the same total time, of which another share is kept for a further fit."""
        clock = type(self)(self, interrupts=self._interrupts, reserved=share)
        clock._began = self._began
        return clock

    @property
    def is_limited(self):
        """Whether there is a limit."""
        return not math.isinf(self)

    @property
    def left(self):
        """Seconds that are left."""
        return self._began + self - time.monotonic()

    @property
    def left_for_fits(self):
        """Seconds that are left for the fits of a comparison, so that its report is in time."""
        kept = min(REPORT_SHARE * self, REPORT_SECONDS) + self._reserved * self if self.is_limited else 0.0
        return self.left - kept

    @contextmanager
    def preparation(self):
        """Interrupt what is done in this context when the time for it is over, with a TimeIsOverError."""
        in_main_thread = threading.current_thread() is threading.main_thread()  # the only one that signals reach
        if not (self.is_limited and self._interrupts and in_main_thread and hasattr(signal, "setitimer")):
            yield
            return
        before = signal.signal(signal.SIGALRM, self._ring)
        self._armed = True
        try:
            signal.setitimer(signal.ITIMER_REAL, max(self.left_for_fits, 1e-3))
            yield
        except Alarm:
            raise TimeIsOverError(
                f"The total time of {self:g} s was over before the first fit, while the table was read and prepared. "
                "Give more time, or fewer rows."
            ) from None
        finally:
            self._disarm()
            signal.signal(signal.SIGALRM, before)

    def end_preparation(self):
        """Stop the alarm: from the first fit on, what runs is stopped in other ways."""
        self._disarm()

    def _ring(self, *_):
        if self._armed:
            raise Alarm

    def _disarm(self):
        if self._armed:
            self._armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
