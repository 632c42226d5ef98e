r"""Kernel machines of rows that are read block by block: one pass to look at them, one for the moments of the features.

The first pass keeps a sample of the rows, drawn by the hashes of their numbers. From the sample come the kernel, the
centres, and the rows that are left out, each of all rows, to choose the penalty. Files that are sorted by the target
therefore do no harm, and nothing of size n is kept. Identical rows are not merged, but in the sample.
"""

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np

from sklearn_ltdl._sklearn import draw_seed
from sklearn_ltdl._targets import Standardisation, fit_log_odds, one_hot, softened
from sklearn_ltdl.ntk._classes import ClassMachine
from sklearn_ltdl.ntk._gram import call_kernel, mean_diagonal
from sklearn_ltdl.ntk._machine import Machine
from sklearn_ltdl.ntk._nystroem import (
    Spectrum,
    choose_alpha,
    choose_alpha_by_groups,
    feature_moments,
    independent,
    leave_groups_out,
    leave_one_out,
    whitener,
)
from sklearn_ltdl.ntk._problem import DOUBLE_ENTRIES, stands_single
from sklearn_ltdl.ntk._sample import Sample
from sklearn_ltdl.ntk._solvers import ALPHAS, BLOCK_ENTRIES, require_memory, row_blocks
from sklearn_ltdl.ntk._stack import best_kernel
from sklearn_ltdl.rows._blocks import Block
from sklearn_ltdl.rows._gather import Slices, gather
from sklearn_ltdl.rows._looks import Counts, LabelTarget, NumberTarget, look_at_labels, look_at_numbers, weights_of
from sklearn_ltdl.rows._rows import look
from sklearn_ltdl.rows._sampled import draw_groups

KEPT_ROWS = 20_000  # of the sample whose leave-one-out predictions are known
GROUP_ROWS = 4000  # of the groups that are left out together


@dataclass(eq=False)
class CentreFeatures:
    r"""What turns a block of rows into features :math:`L^{-1} k(x)` and standardised targets of mean 0.

    Parameters
    ----------
    kernel : Kernel or callable
    centres : ndarray of shape (m, n_features)
    scale : float
        The kernel's mean diagonal.
    single : bool
        Whether kernel values are in single precision.
    target : NumberTarget or LabelTarget
    mean : ndarray of shape (n_outputs,)
    ratio : float
        Of the weights, to make their sum the number of rows.
    """

    kernel: object
    centres: np.ndarray
    scale: float
    single: bool
    target: object
    mean: np.ndarray
    ratio: float

    def __getstate__(self):
        """Return what is sent to a worker, which works out what is m x m itself."""
        return {name: value for name, value in vars(self).items() if name not in ("inverse", "triangle", "narrow")}

    @property
    def dtype(self):
        """Return the precision of kernel values."""
        return np.float32 if self.single else np.float64

    @cached_property
    def narrow(self):
        """The centres in the precision of the kernel."""
        return self.centres.astype(self.dtype)

    @cached_property
    def inverse(self):
        """The inverse of the Cholesky factor of the centres' Gram matrix."""
        return whitener(call_kernel(self.kernel, self.centres) / self.scale)

    @cached_property
    def triangle(self):
        """The same in the precision of the kernel."""
        return self.inverse.astype(self.dtype)

    def memory_needed(self):
        """Return a sentence on the memory of a worker; for errors."""
        m = len(self.centres)
        megabytes = 8 * (4 * m**2 + 2 * BLOCK_ENTRIES) / 2**20
        return (
            f"With {m} centres a worker needs about {megabytes:.0f} MB and a block of rows: take fewer n_components. "
        )

    def cross(self, X):
        """Return the kernel between rows and centres, over its mean diagonal."""
        K = call_kernel(self.kernel, X.astype(self.dtype, copy=False), self.narrow).astype(self.dtype, copy=False)
        K /= self.scale
        return K


def moments_of_rows(block, features: CentreFeatures):
    """Return the sums of `feature_moments` over the rows of a block; a statistic of `gather`."""
    Y, weight = features.target.of(block) - features.mean, weights_of(block) * features.ratio

    def read(rows):
        return features.cross(block.X[rows]), Y[rows], weight[rows]

    return gather(feature_moments, Slices(row_blocks(block.n_rows, len(features.centres)), read), features.triangle)


class Looked(NamedTuple):
    """What the first pass has told.

    Parameters
    ----------
    counts : Counts
    drawn : Block
        Some rows: the centres are among them, and those that compare the penalties.
    target : NumberTarget or LabelTarget
    mean : ndarray of shape (n_outputs,)
        Of the targets that `target` reads.
    flat : bool
        Whether coefficients have no axis of outputs.
    left : Block or None
        With groups, the rows of some of them, which are left out together.
    """

    counts: Counts
    drawn: Block
    target: NumberTarget | LabelTarget
    mean: np.ndarray
    flat: bool
    left: Block | None

    @classmethod
    def at_numbers(cls, rows, settings):
        """Look at rows with numbers as targets; `settings.random_state` is a seed."""
        _refuse(rows, settings)
        counts, moments, left, drawn = _look(rows, look_at_numbers, settings)
        target = NumberTarget(moments.units(settings.normalize_y))
        mean = np.where(target.units.constant, 0.0, target.units.apply(moments.mean))
        return cls(counts, drawn, target, mean, rows.columns.flat, left)

    @classmethod
    def at_labels(cls, rows, settings):
        """Look at rows with labels as targets; `settings.random_state` is a seed."""
        _refuse(rows, settings)
        counts, found, left, drawn = _look(rows, look_at_labels, settings)
        classes, weights = found.labels()
        if np.count_nonzero(weights) < 2:
            (only,) = classes[[np.argmax(weights)]].tolist()
            raise ValueError(
                f"y has one class, {only!r}, among the rows of positive weight; a classifier needs rows of at least "
                "two classes."
            )
        shares = weights / weights.sum()
        mean = np.array([2.0 * shares[1] - 1.0]) if len(classes) == 2 else shares
        return cls(counts, drawn, LabelTarget(classes, signed=True), mean, len(classes) == 2, left)

    def targets_of(self, block):
        """Return the targets of a block, numbers in their own units, of shape (n_rows, n_outputs)."""
        Y = self.target.of(block)
        return self.target.units.undo(Y) if isinstance(self.target, NumberTarget) else Y

    @property
    def judging(self):
        """The rows that are left out of all."""
        return self.drawn if self.left is None else self.left

    @property
    def one_hot(self):
        """Their targets, of classes."""
        return one_hot(self.target.codes(self.judging), len(self.target.classes))


def regression_of_rows(rows, settings):
    """Return the machine of rows with numbers as targets; see `Machine.of`."""
    settings = settings._replace(random_state=draw_seed(settings.random_state))
    return machine_of_rows(rows, Looked.at_numbers(rows, settings), settings)


def classification_of_rows(rows, settings):
    """Return the machine of rows with labels as targets; see `ClassMachine.of`."""
    settings = settings._replace(random_state=draw_seed(settings.random_state), normalize_y=False)
    return classifier_of_rows(rows, Looked.at_labels(rows, settings), settings)


def classifier_of_rows(rows, looked, settings):
    """Return the machine of rows with labels as targets, after the first pass."""
    machine, targets = machine_of_rows(rows, looked, settings), looked.one_hot
    scores, weight = machine.left_out.reshape(targets.shape), weights_of(looked.judging)
    found = fit_log_odds(scores, softened(targets, looked.counts.counted), weight)
    return ClassMachine(machine, looked.target.classes, *found)


def _refuse(rows, settings):
    """Raise an error for what cannot be done block by block."""
    if settings.solver not in ("auto", "nystroem"):
        raise ValueError(
            f"solver={settings.solver!r} needs all rows in memory; for Rows take solver='nystroem', or give "
            "*rows.sample(n)."
        )
    if settings.precomputed:
        raise ValueError("kernel='precomputed' needs a matrix in memory, and X is Rows; give features, and a kernel.")


def _look(rows, look_at, settings):
    """Return counts, what is known of the target, rows of whole groups if there are groups, and rows."""
    n, seed = max(KEPT_ROWS, settings.n_components), settings.random_state
    if not rows.has_groups:
        counts, found, drawn = look(rows, look_at, n, seed)
        return counts, found, None, drawn
    counts, found, left, drawn = look(rows, partial(_look_at_groups, look_at), n, seed)
    left = replace(left, draw=left.draw._replace(n=min(GROUP_ROWS, counts.n // 2))).least()
    if not len(left.numbers):
        raise ValueError(
            f"groups: the first that is drawn has more than {left.draw.n} rows, too many to leave out together; take "
            "another random_state, or smaller groups, or leave groups out of scan."
        )
    return counts, found, left.block(), drawn


def _look_at_groups(look_at, block, state):
    """Return what `look_at` does, and the rows of groups that may be drawn, before the last."""
    *told, part = look_at(block, state)
    return *told, *draw_groups(block, state._replace(n=GROUP_ROWS)), part


class Judging(NamedTuple):
    """Rows that are left out of all, one by one or by groups, to choose the penalty.

    Parameters
    ----------
    cross : callable
        From places among these rows to the kernel with the centres.
    centres : ndarray
        Places of the centres that are left out with their row.
    group : ndarray or None
        Number of the group of each row; None leaves out one row at a time.
    spectrum : Spectrum
        Of all rows.
    Y : ndarray of shape (n_rows, n_outputs)
    weight : ndarray of shape (n_rows,)
    n : int
        Number of all rows.
    """

    cross: object
    centres: np.ndarray
    group: np.ndarray | None
    spectrum: Spectrum
    Y: np.ndarray
    weight: np.ndarray
    n: int

    @classmethod
    def of(cls, looked, features, centres, spectrum, n):
        """Return the rows of the sample, or of its groups."""
        block = looked.judging
        group = None if looked.left is None else np.unique(block.groups, return_inverse=True)[1]
        Y, weight = looked.target.of(block) - looked.mean, weights_of(block) * features.ratio
        return cls(lambda rows: features.cross(block.X[rows]), centres, group, spectrum, Y, weight, n)

    def chosen(self, penalties, seed):
        """Return the mean squared residual of each penalty, and the index of the least."""
        if self.group is None:
            return choose_alpha(self.cross, self.centres, self.spectrum, penalties, self.Y, self.weight, seed, self.n)
        return choose_alpha_by_groups(self.cross, self.group, self.spectrum, penalties, self.Y, self.weight, self.n)

    def residuals(self, ridge):
        """Return the residuals for one ridge, of shape (n_rows, n_outputs)."""
        spectrum, of_rows = self.spectrum, (self.Y, self.weight, self.n)
        if self.group is not None:
            return leave_groups_out(self.cross, self.group, spectrum, ridge, *of_rows)[..., 0]
        left_out = leave_one_out(self.cross, self.centres, spectrum, ridge, *of_rows)
        parts = row_blocks(len(self.Y), len(spectrum.w))
        return np.concatenate([left_out(np.arange(len(self.Y))[part])[..., 0] for part in parts])


def machine_of_rows(rows, looked, settings, kernel=None):
    """Return the machine of centres among the drawn rows, with all rows as data; the best kernel if none is given."""
    counts, drawn, target, mean, flat, left = looked
    seed = settings.random_state
    n, ratio = counts.n, counts.n / counts.weight
    Y, weight = target.of(drawn), weights_of(drawn) * ratio
    sample = Sample.of(drawn.X, Y, weight, drawn.groups, False)
    points = sample.points
    if left is not None:
        points = points[~np.isin(drawn.groups[points], left.groups)]
        if not len(points):
            raise ValueError("groups: all rows are in a few groups, so that none is left to draw centres from.")
    rng = np.random.default_rng(seed)
    kernel_errors = np.array([np.nan])
    if kernel is None:
        kernel, kernel_errors = best_kernel(drawn.X, sample, settings, rng)
    centres = points[np.sort(rng.permutation(len(points))[: settings.n_components])]
    m = len(centres)
    require_memory(m, 14 + np.log2(1 + n / 2**19), "Use fewer n_components.")

    K = call_kernel(kernel, drawn.X[centres])
    scale = mean_diagonal(K, weight[centres])
    penalties = settings.penalties(scale)
    K /= scale
    leaving = centres
    if penalties[0] < ALPHAS[0]:  # too small to bound the coefficients of functions that are, together, nearly 0
        kept = independent(K)
        if len(kept) < m:
            m, centres, leaving, K = len(kept), centres[kept], centres[:0], K[np.ix_(kept, kept)]
    single = n * m > DOUBLE_ENTRIES and stands_single(kernel, K, scale, counts.largest, penalties[0])
    del K
    features = CentreFeatures(kernel, drawn.X[centres], scale, single, target, mean, ratio)
    spectrum = Spectrum.of(features.inverse, n, gather(moments_of_rows, rows, features))

    judging = Judging.of(looked, features, leaving, spectrum, n)
    Y, weight = judging.Y + mean, judging.weight
    errors, best = judging.chosen(penalties, seed)
    whiten, shift, g, ridge = spectrum.solved(n * penalties[[best]], n)
    residuals = judging.residuals(ridge)
    units = target.units if isinstance(target, NumberTarget) else Standardisation.of(Y, weight, False)
    tail = () if flat else (Y.shape[1],)
    coef = (whiten.T @ g / scale * units.scale).reshape(-1, *tail)
    kept = Sample.unmerged(Y, weight)
    return Machine(
        kernel,
        kernel_errors,
        features.centres,
        coef,
        units.undo(mean - shift @ g).reshape(tail)[()],
        scale * penalties,
        errors,
        scale * penalties[best],
        "nystroem",
        len(penalties),
        units.undo(Y - residuals).reshape(-1, *tail),
        kept,
        units,
        scale,
        residuals,
        residuals,
        None,
    )
