"""How often is a verdict over growing stages of training rows wrong?

`compare(stages=...)` looks at four disjoint training sets of 2000, 8000 and 32 000 rows, judged by the same 20 000
rows, and ends when two stages running have the same verdict. Here the contrast of two models is simulated instead of
fitted: its truth at n rows, an effect of each training set, heavy-tailed effects of each test row that are the same in
all stages, and noise. The interval is the one of the package. The question is whether the gain exceeds the margin, 1 %.

    python benchmarks/stages.py            # 1000 draws a case, half a minute

For each rule the table gives how often the answer is wrong about the number of rows at which it is given, wrong about
all rows, and open; and the training rows that the fits have used.
"""

import argparse

import numpy as np

from sklearn_ltdl.study._folds import Split
from sklearn_ltdl.study._stages import SETS
from sklearn_ltdl.study._verdict import HeldOut

MARGIN = 1.0  # per cent of the baseline's loss
TEST = 2000  # rows that judge; effects are scaled to those of 20 000
SCALE = np.sqrt(TEST / 20_000)
ROW = 20.0  # per cent, of the paired differences of single rows: their spread is 35 %
SIZES = (2000, 8000, 32_000)
CASES = {  # the gain at 2000, 8000 and 32 000 rows, and with all rows
    "features: -1 at 2000 rows, 6 with all": (-1.0, 2.5, 4.2, 6.0),
    "the kernel catches up: 4 at 2000 rows, 0 with all": (4.0, 2.0, 0.6, 0.0),
    "3 at every number of rows": (3.0,) * 4,
    "0 at every number of rows": (0.0,) * 4,
    "1, the margin, at every number of rows": (1.0 + 1e-9,) * 4,
}
RULES = ("first that is decided, 80 %", "first that is decided", "two running agree", "the last")


def answers(truths, rng, level):
    """Return the answer of each stage: 1 for above the margin, -1 for below it, 0 for open."""
    rows = rng.standard_t(3, TEST) * ROW  # the same in all stages
    found = []
    for truth in truths[:-1]:
        n = len(found) + 1
        spread = 0.5 / 2 ** (n - 1)  # of the means of training sets, per cent, as one over the root of rows
        sets = rng.normal(0, spread, SETS)[:, None]
        values = truth + sets + SCALE * (rows + rng.standard_t(3, (SETS, TEST)) * ROW)
        splits = [Split(0, k, np.arange(SIZES[n - 1]), np.arange(TEST)) for k in range(SETS)]
        held_out = HeldOut.of(splits, np.ones(TEST), np.arange(TEST), n_looks=len(SIZES))
        mean, half = held_out.interval(values.ravel(), level or held_out.level)
        found.append(1 if mean - half > MARGIN else -1 if mean + half < MARGIN else 0)
    return found


def decision(rule, found):
    """Return the stage after which a rule ends, and its answer."""
    for stage, answer in enumerate(found):
        if rule.startswith("first") and answer:
            return stage, answer
        if rule.startswith("two") and stage and answer and answer == found[stage - 1]:
            return stage, answer
    return len(found) - 1, 0 if rule.startswith("two") else found[-1]


def simulated(truths, draws, rng):
    """Return by rule the shares of draws that are wrong at their own rows, wrong about all rows and open, and rows."""
    outcomes = {rule: [] for rule in RULES}
    for _ in range(draws):
        by_level = {level: answers(truths, rng, level) for level in (0.8, None)}
        for rule in RULES:
            stage, answer = decision(rule, by_level[0.8 if "80" in rule else None])
            wrong = [answer * np.sign(truths[place] - MARGIN) < 0 for place in (stage, -1)]
            outcomes[rule].append([*wrong, answer == 0, SETS * sum(SIZES[: stage + 1])])
    return {rule: np.mean(values, axis=0) for rule, values in outcomes.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="few draws")
    options = parser.parse_args()
    options.draws = 20 if options.quick else options.draws
    print(f"{'wrong at its rows / about all rows / open, %, and training rows':<66}")
    for case, truths in CASES.items():
        print(case)
        for rule, shares in simulated(truths, options.draws, np.random.default_rng(0)).items():
            own, whole, still = 100 * shares[:3]
            print(f"    {rule:<28} {own:5.1f} / {whole:5.1f} / {still:5.1f}  {shares[3]:8.0f}", flush=True)
