"""Interruptions that Python would drop."""

import _thread
import signal
import sys
import threading
from contextlib import contextmanager

PAUSE = 0.01  # seconds, in which the code that drops exceptions returns


class Alarm(KeyboardInterrupt):
    """Raised where a run is when its time is over; like an interruption, it passes handlers of errors."""


@contextmanager
def heeded_interruptions():
    """Interrupt the main thread again where Python drops the exception of an interruption.

    A signal may come while a finaliser or a callback of the garbage collector runs (JAX has one). What these raise goes
    to `sys.unraisablehook`, and the program runs on.
    """
    report = sys.unraisablehook

    def heed(dropped):
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            number = signal.SIGALRM if issubclass(dropped.exc_type, Alarm) else signal.SIGINT
            threading.Timer(PAUSE, _thread.interrupt_main, (number,)).start()
        else:
            report(dropped)

    sys.unraisablehook = heed
    try:
        yield
    finally:
        sys.unraisablehook = report
