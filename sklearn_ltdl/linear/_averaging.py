"""How SAG, SAGA and SVRG go through the rows: one at a time at random, or in blocks of random rows.

A step on a block of K rows is a step on the mean of their losses. K draws of chances p_i have the smoothness
``(1 - 1/K) lambda + max_i L_i / (n p_i K)``, where lambda is the largest curvature of the whole mean (Gower et al.
2019, arXiv:1901.09401): a block is K times smoother than a row, until lambda is reached. What neighbours in the data
have in common does not matter, since the rows of a block are no neighbours.
"""

import numpy as np
from scipy import sparse

from sklearn_ltdl.linear._gram import BLOCK

SIZE = 8  # rows of a block
FEWEST = 32  # blocks
UNEVEN = 4  # the largest smoothness of a row over the mean from which rows are drawn in proportion to theirs


def first_point(problem, state):
    """Return the point where a solver starts: that of its state, or of zero coefficients."""
    if "coef" not in state:
        return problem.start
    if "last" in state.get("known", ()):  # for another penalty
        return state["known"]["last"].moved_to(problem)
    return problem.at(state["coef"], state["intercept"])


def set_step(state, step, safe, l2=0.0):
    state["safe_step"], state["step"] = safe, safe if step is None else step
    if state["step"] * l2 >= 1:
        raise ValueError(
            f"step_size={step:g} is too large for this alpha: 1 - step_size alpha (1 - l1_ratio), by which a step "
            f"shrinks coefficients, must be positive. The safe step is {safe:.3g}; step_size=None needs no choice."
        )
    return state["step"]


def note_smoothness(problem, state):
    terms = problem.term_smoothness
    state["smoothness"] = float(terms.max()), float(terms.mean())


class Draw:
    """Rows at random, and what makes up for uneven chances.

    With ``sampling='lipschitz'`` half of the draws are uniform and half in proportion to the smoothness of the terms
    (Schmidt et al. 2017, section 5.5); 'auto' does so where the largest is more than twice the mean.

    Attributes
    ----------
    correction : ndarray of shape (n_samples,)
        1 / (n p_i) for the chance p_i of a row.
    smoothness : float
        The largest smoothness of a term times its correction.
    """

    def __init__(self, problem, sampling, terms=None):
        terms = problem.term_smoothness if terms is None else terms
        self.n, mean, tiny = len(terms), terms.mean(), np.finfo(float).tiny
        self.chances, self.correction = None, np.ones(self.n)
        if sampling == "lipschitz" or (sampling == "auto" and terms.max() > 2 * mean):
            shares = 0.5 / self.n + 0.5 * terms / max(terms.sum(), tiny)
            self.chances = np.cumsum(shares)
            self.correction = 1 / (self.n * shares)
        self.smoothness = np.max(terms * self.correction) + problem.l2 + tiny

    def __call__(self, rng):
        """Return n rows."""
        if self.chances is None:
            return rng.integers(self.n, size=self.n)
        ordered = np.sort(rng.random(self.n))  # a search for numbers in order stays in the cache
        rows = np.minimum(np.searchsorted(self.chances, ordered, side="right"), self.n - 1)
        rng.shuffle(rows)
        return rows

    def stratified(self, rng):
        """Return n rows, of each as many as its chance says, up to one."""
        even = (np.arange(self.n) + rng.random(self.n)) / self.n
        rows = np.minimum(np.searchsorted(self.chances, even, side="right"), self.n - 1)
        rng.shuffle(rows)
        return rows


def averaging(problem, state, family="averaged", *last):
    """Return the compiled epoch of SAG, SAGA and SVRG and its memory, which goes on from the table in the state."""
    from sklearn_ltdl.linear._epochs import Memory, kernel_of  # compiled code loads on first use

    n = len(problem.Y)
    weight = n * problem.share
    note_smoothness(problem, state)
    if "table" not in state:
        point = first_point(problem, state)
        state.update(coef=point.coef.copy(), intercept=point.intercept.copy(), table=weight[:, None] * point.slopes)
    table = state["table"]
    memory = Memory(state["coef"], state["intercept"], table, problem.transposed(table) / n, table.mean(axis=0))
    kernel = kernel_of(family, problem)
    fixed = weight, problem.fit_intercept, float(problem.l2), float(problem.l1)
    return lambda *changing: kernel(*fixed, *changing, *last, memory), memory


class Blocks:
    """Epochs of SAG and SAGA on blocks of random rows; their memory, step and past are in the state.

    Rows are centred within a step, and the intercept moves about as fast as the steepest direction: neither the means
    nor the unit of the columns matter. Rows of about equal length are cut into blocks once; others are drawn in
    proportion to their smoothness.

    `size`, the rows of a block, is 1 where blocks are not worth while: on sparse or few rows, or where a row is hardly
    less smooth than the whole mean.
    """

    def __init__(self, problem, state):
        self.problem, self.state, self.rng, self.size = problem, state, state["rng"], 1
        n, p = problem.X.shape
        if sparse.issparse(problem.X) or n < FEWEST * SIZE:
            return
        smoothness, (centre, squares) = problem.loss.smoothness, _centred(problem)
        steepest, mean = _steepest(problem, centre, squares), problem.share @ squares
        if not steepest > 0:  # constant columns
            return
        pace = min(steepest, mean / 8)
        terms = n * problem.share * smoothness * (squares + pace * problem.fit_intercept)
        self.draw = Draw(problem, "lipschitz" if terms.max() > UNEVEN * terms.mean() else "uniform", terms)
        curvature = smoothness * steepest + problem.l2
        self.size = next((size for size in (SIZE, SIZE // 2) if self.draw.smoothness >= 2 * (size - 1) * curvature), 1)
        if self.size == 1:
            return
        self.steepest_of_block = (1 - 1 / self.size) * curvature + self.draw.smoothness / self.size
        self.short_step = min(0.5 / self.steepest_of_block, 1.5 * self.size / (n * curvature))
        self.is_cut = self.draw.chances is None
        if "changes" not in state:
            rows = self.rng.permutation(n)
            rows = np.append(rows, rows[: -n % self.size]).reshape(-1, self.size)
            is_even = self.is_cut and p * steepest <= 2 * mean
            state.update(blocks=rows if self.is_cut else None, changes=[], even=is_even, begin=0)
            state["block_step"] = 0.5 / self.steepest_of_block
        state["step"] = state["block_step"]  # not one that was given to a fit between two of these
        self._epoch, _ = averaging(problem, state, "blocks", centre, pace)

    def saga_epoch(self):
        """Visit each block once, or each row about as often as its chance says."""
        if self.is_cut:
            self._visit(self.rng.permutation(self.state["blocks"]), self.state["step"], np.ones(1))
        else:
            self._visit(self._of(self.draw.stratified(self.rng)), self.state["step"], self.draw.correction)
        if self._is_slow(2) and self.is_cut:  # with uneven chances, SAGA does not bear 1/L
            self._go_faster()

    def sag_epoch(self):
        """Draw as many blocks as there are; where all directions are about as steep, visit each once by short steps."""
        state, blocks = self.state, self.state["blocks"]
        of_table = np.full(1, self.size / len(self.draw.correction))  # the new slope of a row counts for 1/n
        if state["even"]:
            self._visit(self.rng.permutation(blocks), self.short_step, of_table)
            if self._is_slow(8):
                state.update(even=False, begin=len(state["changes"]))
        else:
            if self.is_cut:
                blocks = blocks[self.rng.integers(len(blocks), size=len(blocks))]
            else:
                blocks = self._of(self.draw(self.rng))
            self._visit(blocks, state["step"], of_table)
            if self._is_slow(2):
                self._go_faster()

    def _of(self, rows):
        return rows[: len(rows) - len(rows) % self.size].reshape(-1, self.size)

    def _visit(self, blocks, step, correction):
        self.state["changes"].append(self._epoch(blocks, step, correction))

    def _is_slow(self, factor):
        """Return whether the changes of the slopes fell less than by a factor in the last two of five epochs."""
        changes = self.state["changes"]
        return len(changes) >= self.state["begin"] + 5 and changes[-1] > changes[-3] / factor

    def _go_faster(self):
        """Double the step, up to 1/L."""
        step = min(2 * self.state["step"], 1 / self.steepest_of_block)
        self.state.update(step=step, block_step=step, begin=len(self.state["changes"]))


def _centred(problem):
    """Return the mean row, if rows are notably shorter without it, else zeros; and the squared lengths without it."""
    centre = problem.share @ problem.X if problem.fit_intercept else np.zeros(problem.X.shape[1])
    shift, squares = centre @ centre, problem.squared_lengths
    if shift <= 0.1 * (problem.share @ squares):
        return np.zeros_like(centre), squares
    return centre, np.maximum(squares - 2 * (problem.X @ centre) + shift, 0)


def _steepest(problem, centre, squares):
    """Return about the largest eigenvalue of the mean of the products of the rows with themselves.

    It is that of some rows, drawn with chances as their parts in the trace, which is dominated by no row then.
    """
    n, p = problem.X.shape
    parts = np.cumsum(problem.share * squares)
    if not parts[-1] > 0:
        return 0.0
    rng = np.random.default_rng(0)
    rows = np.searchsorted(parts, parts[-1] * np.sort(rng.random(min(n, max(500, BLOCK // p)))), side="right")
    rows = np.minimum(rows, n - 1)
    rows = rows[squares[rows] > 0]
    A = (problem.X[rows] - centre) / np.sqrt(squares[rows, None])
    v, value = rng.normal(size=p), 0.0
    for _ in range(30):
        v = A.T @ (A @ (v / np.linalg.norm(v)))
        value, before = np.linalg.norm(v), value
        if value <= 1.02 * before:
            break
    return 1.05 * parts[-1] * value / len(rows)
