"""The options of a comparison; each is defined here once, for the function `compare` and for the command line.

The command line prints ``--help`` before scikit-learn is imported, so this file does not import it.
"""

from typing import NamedTuple

MODELS = ("dummy", "linear", "rbf", "laplace", "ntk", "rfm", "lazy", "rich", "forest", "boosting")


class Number(NamedTuple):
    """A number within bounds.

    Parameters
    ----------
    kind : {int, float}
    low, high : float or None
        None for no bound.
    closed : {'left', 'neither'}
        Whether `low` itself is allowed.
    expected : str
        Text that says in an error what was expected.
    without : float or None
        A number that is not allowed.
    """

    kind: type
    low: float | None
    high: float | None
    closed: str
    expected: str
    without: float | None = None

    def read(self, text):
        """Return the number in a text, or raise a ValueError that says which number was expected."""
        try:
            number = self.kind(text)
        except ValueError:
            number = None
        if number is None or not self._allows(number):
            raise ValueError(f"expected {self.expected}, got {text!r}")
        return number

    def _allows(self, number):
        above = self.low is None or number > self.low or (self.closed == "left" and number == self.low)
        return above and (self.high is None or number < self.high) and number != self.without


class Choice(NamedTuple):
    """One of several words."""

    words: tuple


class Text(NamedTuple):
    """A word that is not checked here; `several` says whether the option may be repeated, or takes several words."""

    several: str = ""


class Option(NamedTuple):
    """A parameter of `compare` that is also an option of the command.

    Parameters
    ----------
    name : str
        Name in Python; ``time_limit`` is ``--time-limit`` for the command.
    group : str
        Title in the help.
    takes : Number, Choice or Text, or None for a switch
    default : object
        Default in Python.
    metavar : str or None
    help : str
    on_command_line : object
        Default of the command, if it differs.
    short : str or None
        One hyphen and one letter.
    """

    name: str
    group: str
    takes: Number | Choice | Text | None
    default: object
    metavar: str | None
    help: str
    on_command_line: object = None
    short: str | None = None

    @property
    def flags(self):
        """The option as it is typed, with its short form first."""
        return [*filter(None, [self.short]), f"--{self.name.replace('_', '-')}"]

    @property
    def initial(self):
        """Default of the command."""
        return self.default if self.on_command_line is None else self.on_command_line


_SECONDS = Number(float, 0, None, "neither", "a number above 0")
OPTIONS = (
    Option(
        "task", "comparison", Choice(("auto", "regression", "classification")), "auto", None,
        "auto treats text, booleans and at most 10 distinct whole numbers as classes",
    ),
    Option(
        "log", "comparison", None, False, None,
        "predict the logarithm of a positive target, such as a price; the verdict is on it",
    ),
    Option(
        "models", "comparison", Text("nargs"), None, "MODEL",
        f"among {', '.join(MODELS)} (default: all; dummy and linear always run)",
    ),
    Option(
        "also", "comparison", Text("append"), None, "MODULE:CLASS",
        "show another estimator as well, such as sklearn.svm:SVR; may be repeated",
    ),
    Option(
        "scoring", "comparison", Text(), None, "NAME",
        "score of scikit-learn to show (default: R2 or accuracy, and AUC of two classes)",
    ),
    Option("cv", "comparison", Number(int, 2, None, "left", "a whole number of at least 2"), 5, "N", "number of folds"),
    Option(
        "repeats", "comparison", Number(int, 1, None, "left", "a whole number of at least 1"), 1, "N",
        "number of times the folds are drawn",
    ),
    Option(
        "margin", "comparison", Number(float, 0, 1, "neither", "a number above 0 and below 1"), 0.01, "SHARE",
        "share of the baseline's loss that does not matter",
    ),
    Option(
        "random_state", "comparison", Number(int, 0, 2**32, "left", "a whole number of at least 0"), 0, "SEED", "seed",
    ),
    Option(
        "curves", "comparison", None, False, None, "compute learning curves and the network's score across scales",
    ),
    Option(
        "n_jobs", "work", Number(int, None, None, "neither", "a whole number that is not 0", 0), None, "N",
        "number of fits at a time, -1 for one per core", on_command_line=-1, short="-j",
    ),
    Option("time_limit", "work", _SECONDS, None, "SECONDS", "time limit for one fit (default: none)"),
    Option(
        "total_time", "work", _SECONDS, None, "SECONDS",
        "time limit for everything, from reading the table to the report (default: none)",
    ),
    Option(
        "journal", "work", Text(), None, "FILE",
        "keep each fit in this file; after an interruption, the same command resumes from it",
    ),
    Option("scheduler", "work", Text(), None, "ADDRESS", "run on a Dask cluster, such as tcp://127.0.0.1:8786"),
    Option(
        "backend", "work", Choice(("loky", "dask")), "loky", None, "where fits run; a scheduler implies dask",
    ),
)  # fmt: skip
