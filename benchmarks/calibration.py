"""How often is the verdict of `compare` wrong, and how often can it not tell?

Problems are drawn from configurations: a kind of target, its parameters, a number of rows. For each problem the fits of
`compare` are made, and every method is fitted once more on all rows and judged on fresh ones. The truth of a
configuration is the sign, against the margin, of the differences of risk at this number of rows in the mean over its
*other* draws: not the generator's label, since with too few rows a product of two signs needs features for nobody.
Where the 95 % interval of that mean does not settle a question, nobody is wrong about it; a verdict is wrong if what is
settled, with the verdict's own answers for the rest, leads to another.

    python benchmarks/calibration.py results --problems 1000              # hours: 8 s of a core a problem
    python benchmarks/calibration.py results --problems 200 --seeds rule  # those on which rules were set
    python benchmarks/calibration.py results --replicate                  # two large tables, 20 draws of 1000 rows
    python benchmarks/calibration.py new --refit rfm rich --others results  # when only these two have changed
    python benchmarks/calibration.py results --problems 0 --seeds rule    # print what the folder holds

Each problem is a file of the folder with the losses row by row, so that a run that was stopped goes on where it was,
and another rule can be judged on the same fits. Problems on real features take the tables of --data. Run with
OMP_NUM_THREADS=1.
"""

import argparse
import importlib.util
import json
import time
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import chain, cycle, islice
from pathlib import Path

import joblib
import numpy as np
from scipy.stats import beta, t
from threadpoolctl import threadpool_limits

from sklearn_ltdl.study._folds import draw_splits
from sklearn_ltdl.study._jobs import Data, fit_and_predict
from sklearn_ltdl.study._models import METHODS, per_row_loss
from sklearn_ltdl.study._plan import seed_of
from sklearn_ltdl.study._recommendation import recommend
from sklearn_ltdl.study._verdict import LEVEL, Contrast, HeldOut, decide, draw_contrasts, questions
from sklearn_ltdl.tables._target import read_target

DRAWS = 10  # problems of a configuration: nine of them are the truth of the tenth
FRESH = 2000  # rows on which a fitted model is judged
MARGIN = 0.01
LEVELS = (LEVEL, 0.9, 0.95)  # of the intervals
TRUTH_LEVEL = 0.95  # of those of the truth
CLEAR = 3  # margins from 0, from which a difference should be told
SEEDS = {"rule": 3, "final": 4}  # of the problems on which a rule is set, and of those on which it is judged
SIZES = (100, 200, 300, 500)
REAL = ("hl__kin8nm", "uci__pol", "fd__magic", "fd__spambase", "fd__wine-quality-white", "keel__marketing")
REPLICATED = ("uci__kin40k", "large__diamonds")


CONFIGURATION, TARGET, ROWS, FOLDS = range(1, 5)  # what a stream of random numbers is for


def stream(seeds, place, purpose, number=0):
    return np.random.default_rng([SEEDS[seeds], place, purpose, number, 1])  # zeros at the end would be the same


def unit_rows(A):
    return A / np.linalg.norm(A, axis=-1, keepdims=True)


def linear(rng, d):
    w = unit_rows(rng.standard_normal(d))
    return lambda X: X @ w


def sphere(rng, d):
    poles = unit_rows(rng.standard_normal((3, d)))
    return lambda X: np.exp(2 * unit_rows(X) @ poles.T).sum(axis=1)


def multi_index(rng, d):
    U = np.linalg.qr(rng.standard_normal((d, d)))[0][: rng.integers(1, 4)]
    signs = rng.choice([-1, 1], len(U))
    return lambda X: np.abs(X @ U.T) @ signs


def parity(rng, d):
    k = rng.integers(2, 4)
    return lambda X: np.sign(X[:, :k]).prod(axis=1)


def few_of_many(rng, d):
    a, b, c = rng.permutation(d)[:3]
    return lambda X: np.sin(2 * X[:, a]) + X[:, b] * X[:, c]


def steps(rng, d):
    columns, levels = rng.integers(d, size=(8, 2)), rng.normal(0, 0.7, (8, 2))
    heights = rng.standard_normal(8)
    return lambda X: np.all(X[:, columns] > levels, axis=2) @ heights


def noise(rng, d):
    return lambda X: np.zeros(len(X))


FAMILIES = {name: method.family for name, method in METHODS.items()}
KINDS = {f.__name__: f for f in (linear, sphere, multi_index, parity, few_of_many, steps, noise)}


def configurations(n, seeds):
    """Return `n` configurations, spread over kinds, sizes, dimensions, noise and tasks; a third on real features."""
    kinds = {
        "generated": cycle(KINDS),
        "real": cycle([kind for kind in KINDS if kind not in ("sphere", "parity")]),
    }
    places = {"generated": (4, 10, 20), "real": REAL}
    found = []
    for place, (source, size) in enumerate(islice(zip(cycle(("generated", "generated", "real")), cycle(SIZES)), n)):
        rng = stream(seeds, place, CONFIGURATION)
        kind, where = next(kinds[source]), places[source][rng.integers(len(places[source]))]
        classes = kind == "parity" or rng.random() < 0.3
        level = float(rng.choice([0.1, 0.3, 1.0]))  # of the noise, in units of the signal
        found.append({
            "seeds": seeds, "place": place, "kind": kind, "n": size, "noise": level, "classes": classes,
            "real": where if source == "real" else None, "d": where if source == "generated" else None,
        })  # fmt: skip
    return found


def load(data, name):
    spec = importlib.util.spec_from_file_location("load", Path(data) / "load.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(name)


def draw(config, number, data):
    """Return rows to learn from and fresh ones: X, y, X_fresh, y_fresh and whether y are classes."""
    rng = stream(config["seeds"], config["place"], ROWS, number)
    n = config["n"]
    if config["kind"] == "replicate":
        table = load(data, config["real"])
        rows = rng.permutation(len(table["y"]))[: n + 5 * FRESH]
        X, y = table["X"][rows], table["y"][rows]
        return X[:n], y[:n], X[n:], y[n:], table["task"] == "classification"
    if config["real"] is None:
        X = rng.standard_normal((n + FRESH, config["d"]))
        X = np.sign(X) if config["kind"] == "parity" else unit_rows(X) if config["kind"] == "sphere" else X
    else:
        X = load(data, config["real"])["X"]
        X = X[rng.permutation(len(X))[: n + FRESH]]
    inputs = (X - X.mean(axis=0)) / np.maximum(X.std(axis=0), 1e-9)
    signal = KINDS[config["kind"]](stream(config["seeds"], config["place"], TARGET), X.shape[1])(
        X if config["real"] is None else np.clip(inputs, -5, 5)
    )
    spread = signal.std() or 1.0
    y = (signal - np.median(signal)) / spread + config["noise"] * rng.standard_normal(len(X))
    if config["classes"]:
        y = (y > 0).astype(int)
    return X[:n], y[:n], X[n:], y[n:], config["classes"]


def solve(path, config, number, data, repeats, refit, others):
    """Write what the verdict of one problem is made of, and the risk of each method on fresh rows.

    The fits are those of `compare`; their losses are kept row by row, so that any rule can be judged on them. Methods
    that are not in `refit` come from the same problem in the folder `others`.
    """
    start = time.process_time()
    X, y, fresh, y_fresh, classes = draw(config, number, data)
    target = read_target(y, "classification" if classes else "regression")
    n_classes = None if target.classes is None else len(target.classes)
    table = Data(X, target.values, None, target.task, n_classes)
    everything = Data(np.vstack([X, fresh]), np.append(y, y_fresh), None, target.task, n_classes)
    seed = int(stream(config["seeds"], config["place"], FOLDS, number).integers(2**31))
    splits = draw_splits(5, repeats, target, None, seed)
    final = np.arange(len(y)), np.arange(len(y), len(everything.y))
    losses, risks = {}, {}
    if others is not None:
        with np.load(others / path.name) as file:
            losses, risks = (dict(zip(METHODS, file[key])) for key in ("losses", "risks"))
    with threadpool_limits(1):
        for name in refit:
            method = METHODS[name]
            seeds = [[seed_of(seed, k, s) for s in range(method.n_seeds)] for k in range(len(splits) + 1)]
            parts = [loss_of(table, method, drawn, split.train, split.test) for drawn, split in zip(seeds, splits)]
            losses[name] = np.concatenate(parts).astype(np.float32)
            risks[name] = loss_of(everything, method, seeds[-1], *final).mean()
    part = path.with_suffix(".part.npz")
    np.savez_compressed(
        part,
        config=json.dumps(config),
        losses=np.array([losses[name] for name in METHODS]),
        risks=np.array([risks[name] for name in METHODS]),
        row=np.concatenate([split.test for split in splits]),
        split=np.repeat(np.arange(len(splits)), [len(split.test) for split in splits]),
        cpu=time.process_time() - start,
    )
    part.rename(path)


def loss_of(data, method, seeds, train, test):
    """Return the losses, row by row, of the mean prediction over some seeds."""
    fits = [fit_and_predict(data, method, seed, train, test) for seed in seeds]
    failures = [fit["failure"] for fit in fits if fit["failure"]]
    if failures:
        raise RuntimeError(failures[0])
    prediction = np.mean([fit["prediction"] for fit in fits], axis=0)
    return per_row_loss(data.task, prediction, data.y[test], len(train))


def read(path, repeats):
    """Return one problem: its configuration, the contrasts of `compare` with so many draws of the folds, and risks."""
    with np.load(path) as file:
        kept = {name: file[name] for name in file.files}
    chosen = kept["split"] < 5 * repeats
    n = json.loads(str(kept["config"]))["n"]
    held_out = HeldOut(kept["row"][chosen], kept["split"][chosen], np.ones(n), np.arange(n), 0.8 * n)
    losses = dict(zip(METHODS, kept["losses"][:, chosen].astype(float)))
    contrasts = draw_contrasts(losses, FAMILIES, held_out, MARGIN)
    verdict = decide(contrasts)
    return {
        "config": json.loads(str(kept["config"])), "path": path, "cpu": float(kept["cpu"]),
        "risks": dict(zip(METHODS, kept["risks"])),
        "contrasts": contrasts, "advice": recommend(losses, FAMILIES, held_out, MARGIN, verdict, lambda methods: ""),
    }  # fmt: skip


def truths(results):
    """Return, for each result, the contrasts of the other draws of its configuration, with 95 % intervals."""
    by_place = defaultdict(list)
    for result in results:
        by_place[result["config"]["place"]].append(result)
    found = {}
    for group in by_place.values():
        for result in group:
            others = [other["risks"] for other in group if other is not result]
            if len(others) < 3:
                continue
            risks = {name: np.array([risk[name] for risk in others]) for name in FAMILIES}
            contrasts = {}
            for name, sides in questions(FAMILIES).items():
                candidate, reference = (min(side, key=lambda m: risks[m].mean()) for side in sides)
                gain = (risks[reference] - risks[candidate]) / risks["dummy"].mean()
                half = float(t.ppf((1 + TRUTH_LEVEL) / 2, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain)))
                n = result["config"]["n"]
                mean = float(gain.mean())
                contrasts[name] = Contrast(name, candidate, reference, mean, mean - half, mean + half, MARGIN, n)
            found[result["path"]] = contrasts
    return found


def at_level(contrast, level, of, n):
    """Return a contrast with another level of its interval, which is Student's over n values."""
    half = t.ppf((1 + level) / 2, n - 1) / t.ppf((1 + of) / 2, n - 1) * (contrast.high - contrast.low) / 2
    return replace(contrast, low=contrast.difference - half, high=contrast.difference + half)


def width(contrast):
    return contrast.high - contrast.low


def bounds(k, n):
    """Return the ends of the 95 % interval of Clopper and Pearson."""
    low = 0.0 if k == 0 else beta.ppf(0.025, k, n - k + 1)
    return low, 1.0 if k == n else beta.ppf(0.975, k + 1, n - k)


def share(hits):
    """Return a share in percent, its 95 % interval, and of how many."""
    if not hits:
        return "-"
    low, high = bounds(sum(hits), len(hits))
    return f"{100 * np.mean(hits):.1f} ({100 * low:.1f}-{100 * high:.1f}) {len(hits)}"


HEADS = (  # in percent
    "verdicts wrong", "of those given", "verdicts open", "answers wrong", "answers open", "of all answers",
    "intervals missed",
)  # fmt: skip


RESTS_ON = {  # each list by itself implies the verdict
    "nothing": [["signal"]],
    "linear": [["any_beyond_linear"]],
    "kernel": [["beyond_linear", "any_beyond_kernel"]],
    "features": [
        ["feature_learning", "rich_beyond_fixed", "beyond_all"],
        ["recursive_features", "rfm_beyond_fixed", "beyond_all"],
    ],
    "trees": [["beyond_all"]],
    "unclear": [],
}


def is_wrong(contrasts, truth):
    """Return whether the verdict of contrasts is not that of the truth, and contradicted by what is settled of it."""
    code = decide(contrasts).code
    settled = {name: truth[name] if truth[name].answer is not None else contrasts[name] for name in contrasts}
    return code not in ("unclear", decide(truth).code) and decide(settled).code != code


def report(results):
    """Print the shares of wrong and of open verdicts, by level of the intervals; for that of `compare` by kind as well.

    Verdicts are wrong, of all problems and of those where one was given. Open ones are counted where each true
    difference that decides is at least three margins; of answers, then where the truth is settled, ties included.
    Behind a share of verdicts are its interval of Clopper and Pearson, for these configurations, and the number of
    cases; answers of one problem depend on one another.
    """
    truth = truths(results)
    results = [result for result in results if result["path"] in truth]
    if not results:
        print("Fewer than four draws of any configuration: nothing to judge.")
        return
    true_codes = {path: decide(contrasts).code for path, contrasts in truth.items()}
    print(f"{len(results)} problems, {np.mean([result['cpu'] for result in results]):.0f} s of one core each")
    print("true verdicts:", dict(Counter(true_codes.values())), "(unclear: the draws do not settle it)")
    for level in LEVELS:
        rows = []
        for result in results:
            known, n = truth[result["path"]], result["config"]["n"]
            contrasts = {name: at_level(value, level, LEVEL, n) for name, value in result["contrasts"].items()}
            verdict = decide(contrasts)
            true_code = true_codes[result["path"]]
            large = {name for name in known if abs(known[name].difference) >= CLEAR * MARGIN}
            given = {name: (contrasts[name].answer, known[name].answer) for name in known}
            rows.append({
                **result["config"], "code": verdict.code, "true_code": true_code,
                "wrong": is_wrong(contrasts, known),
                "wrong_answers": [a is not b for a, b in given.values() if a is not None and b is not None],
                "open_answers": [given[name][0] is None for name in large],
                "all_open_answers": [a is None for a, b in given.values() if b is not None],
                "open": [verdict.code == "unclear"] * any(large.issuperset(names) for names in RESTS_ON[true_code]),
                "misses": [
                    abs(contrasts[name].difference - known[name].difference)
                    > np.hypot(width(contrasts[name]), width(at_level(known[name], level, TRUTH_LEVEL, DRAWS - 1))) / 2
                    for name in known
                ],
            })  # fmt: skip
        print(f"\nintervals of {100 * level:.0f} %: {dict(Counter(row['code'] for row in rows))}")
        print(f"{'':28}" + "".join(f"{head:>22}" for head in HEADS))
        print_shares("all problems", rows)
        if level == LEVEL:
            for name in ("n", "kind", "real", "true_code"):
                for value in sorted({row.get(name) for row in rows}, key=str):
                    print_shares(f"{name} {value}", [row for row in rows if row.get(name) == value])
            pairs = Counter((row["true_code"], row["code"]) for row in rows)
            print("; ".join(f"{a} told as {b}: {count}" for (a, b), count in sorted(pairs.items())))
    report_answers(results, truth)


def report_answers(results, truth):
    """Print how often the truth is among the possible codes, features are judged rightly, and the bound is exceeded."""
    by_place = defaultdict(list)
    for result in results:
        by_place[result["config"]["place"]].append(result)
    possible, answered, right, exceeded, bounds_said, regrets = [], [], [], [], [], []
    for result in results:
        true, said = decide(truth[result["path"]]), decide(result["contrasts"])
        if len(true.possible) == 1:
            possible.append(true.possible[0] in said.possible)
        answered.append(said.needs_features != "open")
        if answered[-1] and true.needs_features != "open":
            right.append(said.needs_features == true.needs_features)
        others = [other["risks"] for other in by_place[result["config"]["place"]] if other is not result]
        risks = {name: np.mean([risk[name] for risk in others]) for name in FAMILIES}
        advice = result["advice"]
        regrets.append((risks[advice.model] - min(risks.values())) / risks["dummy"])
        bounds_said.append(advice.bound)
        exceeded.append(regrets[-1] > advice.bound)
    print(f"\npossible codes hold the truth, where it is settled: {share(possible)}")
    print(f"features answered: {share(answered)}; of these right, where the truth is settled: {share(right)}")
    print(f"regret of the recommended model above its bound: {share(exceeded)}")
    print(f"median bound {np.median(bounds_said):.3f}, median regret {np.median(regrets):.3f} of the baseline's loss")
    print("recommended:", dict(Counter(result["advice"].model for result in results)))


def print_shares(name, rows):
    """Print a line: shares of wrong and of open verdicts and answers, and of intervals that miss the truth."""
    given = [row for row in rows if row["code"] != "unclear"]
    verdicts = [row["wrong"] for row in rows], [row["wrong"] for row in given], gathered(rows, "open")
    answers = [gathered(rows, name) for name in ("wrong_answers", "open_answers", "all_open_answers", "misses")]
    texts = [share(hits) for hits in verdicts]
    texts += [f"{100 * np.mean(hits):.1f} {len(hits)}" if hits else "-" for hits in answers]
    print(f"{name:28}" + "".join(f"{text:>22}" for text in texts))


def gathered(rows, name):
    return list(chain.from_iterable(row[name] for row in rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder, one file a problem")
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--seeds", choices=SEEDS, default="final")
    parser.add_argument("--repeats", type=int, default=1, help="of the folds")
    parser.add_argument("--refit", nargs="+", choices=METHODS, default=METHODS, help="fit these methods alone")
    parser.add_argument("--others", type=Path, help="with --refit: the folder that holds the other methods")
    parser.add_argument("--replicate", action="store_true", help="instead, 20 draws of 1000 rows of two large tables")
    parser.add_argument("--data", default="../shared/data", help="folder of real features")
    parser.add_argument("--n-jobs", type=int, default=-1)
    parser.add_argument("--quick", action="store_true", help="one problem, which judges nothing")
    options = parser.parse_args()
    if options.quick:
        options.problems = 1
    if options.replicate:
        kind = "replicate"
        wanted = [
            ({"seeds": "final", "place": place, "kind": "replicate", "n": 1000, "real": name}, number)
            for number in range(20)
            for place, name in enumerate(REPLICATED)
        ]
    else:
        kind = options.seeds
        places = configurations(-(-options.problems // DRAWS), options.seeds)
        wanted = [(config, number) for config in places for number in range(DRAWS)][: options.problems]
    options.results.mkdir(exist_ok=True)
    paths = [options.results / f"{kind}-{config['place']:03}-{number:02}.npz" for config, number in wanted]
    missing = [(path, *problem) for path, problem in zip(paths, wanted) if not path.exists()]
    fixed = options.data, options.repeats, list(options.refit), options.others
    jobs = (joblib.delayed(solve)(*problem, *fixed) for problem in missing)
    for done, _ in enumerate(joblib.Parallel(options.n_jobs, return_as="generator_unordered")(jobs), 1):
        print(f"\r{done} of {len(missing)}", end="", flush=True)
    print()
    report([read(path, options.repeats) for path in sorted(options.results.glob(f"{kind}-*[0-9].npz"))])


if __name__ == "__main__":
    main()
