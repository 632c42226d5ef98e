"""How good are kernels of infinitely wide networks on tables, beside what one would use otherwise?

Part 'published' repeats Arora et al. 2020 (arXiv:1910.01663, section 5): kernels of ReLU networks without bias, of
which the first layers may be fixed, in a support vector machine. Depth, fixed layers and C are chosen on one split of
all rows, whose halves contain every test row too: the accuracies, means over the four published test parts, are
optimistic. 'nested' are those when the choice is made on the halves of each training part instead.

Part 'defaults' fits each method as it comes on training parts, behind `make_table_pipeline`, and ranks the methods by
their mean accuracy or R2 on the test parts. Intervals are of a bootstrap of the tables, those of one origin together.

Part 'networks' does so for networks beside scikit-learn's, on tables of 200 to 5000 rows, all of the training part, and
part 'larger' for tables of more than 1250 rows, with at most 10 000 training rows.

CatBoost, LightGBM, XGBoost, xRFM and RealMLP-TD-S take part at their defaults where they are installed (`pip install
catboost lightgbm xgboost xrfm pytabkit`). xRFM needs rows to validate on: a fifth of its training rows, at random.

The folder of data (argument, or the variable LTDL_DATA) has `load.py` and `index.json`; the data are not shipped for
their licences. Each result is a line of a file in --results, so that a run that was stopped goes on where it was; after
a change of a method, delete its lines. Run with OMP_NUM_THREADS=1.
"""

import argparse
import csv
import importlib.util
import json
import os
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sklearn_ltdl import (
    LazyNetClassifier,
    LazyNetRegressor,
    MeanFieldTwoLayerNet,
    MeanFieldTwoLayerNetClassifier,
    NTKKernelClassifier,
    NTKKernelRegressor,
    make_table_pipeline,
)
from sklearn_ltdl.ntk import NTK, RFMClassifier, RFMRegressor
from sklearn_ltdl.study._models import per_row_loss

DEPTHS = range(5)  # hidden layers; "depth" in the paper counts one more
PENALTIES = 10.0 ** np.arange(-2, 5)  # C of the paper
SVM_ITERATIONS = 400_000  # the paper has no limit; at large C some fits would take hours
NESTED_ROWS = 1000  # up to which tables are also given choices within the training parts, five times the work
ROWS = {"defaults": (50, np.inf), "networks": (200, 5000), "larger": (1250, np.inf)}  # of the tables of each part
MOST_TRAINING_ROWS = {"defaults": 2000, "networks": 5000, "larger": 10_000}  # drawn at random where there are more
MOST_TEST_ROWS = 5000
DRAWS = 10_000  # of the bootstrap


def linear(task):
    if task == "regression":
        return RidgeCV(np.logspace(-3, 5, 33))
    return GridSearchCV(LogisticRegression(max_iter=1000), {"C": np.logspace(-3, 2, 6)})


def mlp(task):
    if task == "regression":
        return TransformedTargetRegressor(MLPRegressor(random_state=0), transformer=StandardScaler())
    return MLPClassifier(random_state=0)


def either(regressor, classifier, **parameters):
    """Return a function from the task to an unfitted estimator."""
    return lambda task: (regressor if task == "regression" else classifier)(**parameters)


class XRFM(ClassifierMixin, BaseEstimator):
    """The package xrfm, which needs rows to validate on."""

    def __init__(self, task):
        self.task = task

    def fit(self, X, y):
        from xrfm import xRFM

        self.classes_, codes = np.unique(y, return_inverse=True)
        y = y[:, None].astype(np.float32) if self.task == "regression" else codes
        kept, held_out = train_test_split(np.arange(len(X)), test_size=0.2, random_state=0)
        X = X.astype(np.float32)
        self._model = xRFM(random_state=0, n_threads=1, verbose=False)
        self._model.fit(X[kept], y[kept], X[held_out], y[held_out])
        return self

    def predict(self, X):
        if self.task == "classification":
            return self.classes_[self.predict_proba(X).argmax(axis=1)]
        return np.ravel(self._model.predict(X.astype(np.float32)))

    def predict_proba(self, X):
        return self._model.predict_proba(X.astype(np.float32))


def catboost(task):
    from catboost import CatBoostClassifier, CatBoostRegressor

    model = CatBoostRegressor if task == "regression" else CatBoostClassifier
    return model(random_seed=0, thread_count=1, verbose=False, allow_writing_files=False)


def lightgbm(task):
    from lightgbm import LGBMClassifier, LGBMRegressor

    return (LGBMRegressor if task == "regression" else LGBMClassifier)(random_state=0, n_jobs=1, verbose=-1)


def xgboost(task):
    from xgboost import XGBClassifier, XGBRegressor

    return (XGBRegressor if task == "regression" else XGBClassifier)(random_state=0, n_jobs=1)


def realmlp(task):
    from pytabkit import RealMLP_TD_S_Classifier, RealMLP_TD_S_Regressor

    return (RealMLP_TD_S_Regressor if task == "regression" else RealMLP_TD_S_Classifier)(
        random_state=0, device="cpu", n_threads=1
    )


kernel = partial(either, NTKKernelRegressor, NTKKernelClassifier, random_state=0)
METHODS = {
    "NTK": kernel(kernel="ntk"),
    "stack": kernel(),
    "NTK depth 1": kernel(depth=1),
    "RFM": either(RFMRegressor, RFMClassifier, random_state=0),
    "Laplace": kernel(kernel="laplace"),
    "RBF": kernel(kernel="rbf"),
    "linear": linear,
    "forest": either(RandomForestRegressor, RandomForestClassifier, n_estimators=500, random_state=0),
    "boosting": either(HistGradientBoostingRegressor, HistGradientBoostingClassifier, random_state=0),
    "MLP": mlp,
    "mean-field": either(MeanFieldTwoLayerNet, MeanFieldTwoLayerNetClassifier, random_state=0),
    "rich": either(LazyNetRegressor, LazyNetClassifier, scale=0.1, random_state=0),
    "lazy": either(LazyNetRegressor, LazyNetClassifier, random_state=0),
    "CatBoost": catboost,
    "LightGBM": lightgbm,
    "XGBoost": xgboost,
    "xRFM": XRFM,
    "RealMLP": realmlp,
}
PEERS = {"CatBoost": "catboost", "LightGBM": "lightgbm", "XGBoost": "xgboost", "xRFM": "xrfm", "RealMLP": "pytabkit"}
INSTALLED = tuple(name for name, module in PEERS.items() if importlib.util.find_spec(module))
METHODS_OF = {
    "published": (),
    "defaults": (
        "NTK",
        "stack",
        "NTK depth 1",
        "RFM",
        "Laplace",
        "RBF",
        "linear",
        "forest",
        "boosting",
        "MLP",
        *INSTALLED,
    ),
    "networks": ("mean-field", "rich", "lazy", "MLP", "forest", "boosting", *INSTALLED),
    "larger": ("NTK", "stack", "RFM", "rich", "linear", "forest", "boosting", "MLP", *INSTALLED),
}


def read_data(folder):
    """Return the module `load.py` of the folder of data."""
    path = folder / "load.py"
    if not path.exists():
        sys.exit(f"{path} is missing: give the folder of data that has load.py and index.json, or set LTDL_DATA to it.")
    spec = importlib.util.spec_from_file_location("load", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wide_network_kernel(X, depth, fixed_layers):
    """Return the matrix of the kernel in the paper's code."""
    return NTK(depth, w_std=1.0, b_std=0.0, normalization="arora", fixed_layers=fixed_layers)(X)


def svm_accuracy(K, y, train, test, C):
    model = SVC(kernel="precomputed", C=C, max_iter=SVM_ITERATIONS, cache_size=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the limit of iterations
        model.fit(K[np.ix_(train, train)], y[train])
    return model.score(K[np.ix_(test, train)], y[test])


def svm_choice(X, y, train, test):
    """Return the accuracy, and the first depth, fixed layers and C that have it."""
    trials = []
    for depth in DEPTHS:
        for fixed_layers in range(depth + 1):
            K = wide_network_kernel(X, depth, fixed_layers)
            trials += [(svm_accuracy(K, y, train, test, C), depth, fixed_layers, C) for C in PENALTIES]
    return max(trials, key=lambda trial: trial[0])


def run_published(data):
    """Return the accuracy of the paper's protocol, and `nested`: of choices made within each training part."""
    X, y = data["X"], data["y"]

    def tested(choice, train, test):
        _, depth, fixed_layers, C = choice
        return svm_accuracy(wide_network_kernel(X, depth, fixed_layers), y, train, test, C)

    choice = svm_choice(X, y, *data["val"])
    scores, nested = [], []
    for train, test in data["splits"]:
        scores.append(tested(choice, train, test))
        if len(y) <= NESTED_ROWS:
            rows = np.random.default_rng(0).permutation(train)
            nested.append(tested(svm_choice(X, y, *np.array_split(rows, 2)), train, test))
    names = ("valid", "depth", "fixed_layers", "C")
    return {"score": np.mean(scores), "nested": np.mean(nested) if nested else None, **dict(zip(names, choice))}


def splits_of(data, part):
    """Return the first published splits, as many as give each table some hundreds of test rows; else our own folds."""
    X, y = data["X"], data["y"]
    splits = data["splits"]
    if not splits:
        folds = (KFold if data["task"] == "regression" else StratifiedKFold)(5, shuffle=True, random_state=0)
        splits = list(folds.split(X, y))
    rng = np.random.default_rng(0)
    return [
        (rng.permutation(train)[: MOST_TRAINING_ROWS[part]], rng.permutation(test)[:MOST_TEST_ROWS])
        for train, test in splits[: 4 if len(y) <= 1000 else 2 if len(y) <= 2000 else 1]
    ]


def run_defaults(data, split, method, part="defaults"):
    """Return R2, or accuracy and log loss; `new` is the first on test rows that no training row repeats."""
    X, y, task = data["X"], data["y"], data["task"]
    train, test = splits_of(data, part)[split]
    model = make_table_pipeline(METHODS[method](task))
    begin = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rare classes, networks that have not converged: defaults are defaults
        model.fit(X[train], y[train])
        prediction = model.predict(X[test])
    seconds = time.process_time() - begin
    score = r2_score if task == "regression" else accuracy_score
    seen = {row.tobytes() for row in X[train]}
    new = np.array([row.tobytes() not in seen for row in X[test]])
    record = {
        "score": score(y[test], prediction),
        "new": score(y[test][new], prediction[new]),
        "seconds": seconds,
        "rows": len(train),
    }
    if task == "classification":
        proba = np.zeros((len(test), data["meta"]["classes"]))
        proba[:, model.classes_] = model.predict_proba(X[test])
        record["log_loss"] = per_row_loss(task, proba, y[test], len(train)).mean()
    return record


PARTS = {"published": run_published} | {part: partial(run_defaults, part=part) for part in ROWS}


def jobs_of(part, tables, methods):
    """Return the table, and what else the part's function is given, of each job; those of small tables first."""
    index = sorted(tables.index().values(), key=lambda meta: meta["n"])
    if part == "published":
        return [(meta["name"],) for meta in index if meta.get("in_arora90")]
    files = {(meta["group"], meta["n"]) for meta in index if meta["suite"] != "sklearn"}
    return [
        (meta["name"], split, method)
        for meta in index
        if ROWS[part][0] <= meta["n"] <= ROWS[part][1] and meta["suite"] not in ("sparse", "images")
        if meta["suite"] != "sklearn" or (meta["group"], meta["n"]) not in files
        for split in range(len(splits_of(tables.load(meta["name"]), part)))
        for method in methods
    ]


def run_job(part, folder, job):
    return {"job": job, **PARTS[part](read_data(folder).load(job[0]), *job[1:])}


def run_part(part, folder, file, methods, n_jobs):
    """Append the results that the file lacks, and return all of them by job."""
    results = {}
    if file.exists():
        results = {tuple(record["job"]): record for record in map(json.loads, file.read_text().splitlines())}
    jobs = jobs_of(part, read_data(folder), methods)
    missing = [job for job in jobs if job not in results]
    runs = Parallel(n_jobs, return_as="generator_unordered")(delayed(run_job)(part, folder, job) for job in missing)
    with file.open("a") as lines:
        for i, record in enumerate(runs, 1):
            print(json.dumps(record), file=lines, flush=True)
            print(f"\r{part}: {i} of {len(missing)}", end="", file=sys.stderr, flush=True)
            results[tuple(record["job"])] = record
    return {job: results[job] for job in jobs}


def print_table(header, rows):
    """Print a table in Markdown; the first column is text."""
    for line in [header, ["---"] + ["--:"] * (len(header) - 1), *rows]:
        print("| " + " | ".join(map(str, line)) + " |")
    print()


def report_published(results, folder):
    with open(folder / "reference" / "rerun_arora_ntk_svm.csv") as file:
        reference = {f"fd__{line['dataset']}": float(line["test_acc"]) for line in csv.DictReader(file)}
    scores = np.array([[100 * r["score"], reference[name]] for (name,), r in results.items()])
    rows = []
    for ((name,), record), line in zip(results.items(), scores):
        choice = f"{record['depth']} / {record['fixed_layers']} / {record['C']:g}"
        nested = "" if record["nested"] is None else f"{100 * record['nested']:.2f}"
        rows.append([name[4:], choice, f"{100 * record['valid']:.2f}", *(f"{score:.2f}" for score in line), nested])
    means = [f"{mean:.2f} ± {sd:.2f}" for mean, sd in zip(scores.mean(axis=0), scores.std(axis=0))]
    rows.append(["**mean ± sd**", "", "", *means, ""])
    print("## Protocol of Arora et al. 2020: accuracy in %\n")
    print_table(["table", "hidden layers / fixed / C", "validation", "test", "reference", "nested"], rows)
    print(f"Test minus reference: {np.mean(scores[:, 0] - scores[:, 1]):+.3f} points in the mean.")
    both = 100 * np.array([[r["score"], r["nested"]] for r in results.values() if r["nested"] is not None])
    print(
        f"On the {len(both)} tables of at most {NESTED_ROWS} rows: {both[:, 0].mean():.2f} when chosen as published, "
        f"{both[:, 1].mean():.2f} when chosen within the training parts.\n"
    )


def report_defaults(results, tables, task, methods, part):
    names = [name for name in dict.fromkeys(job[0] for job in results) if tables.index()[name]["task"] == task]

    def means(field):
        """Return the means over splits, of shape (tables, methods)."""
        return np.array(
            [[np.mean([r[field] for job, r in results.items() if job[::2] == (n, m)]) for m in methods] for n in names]
        )

    first, scores = methods[0], means("score")
    rows = [[name, *(f"{score:.3f}" for score in line)] for name, line in zip(names, scores)]
    rows.append(["**mean**", *(f"{mean:.3f}" for mean in scores.mean(axis=0))])
    ranked = {"mean rank": -scores, "mean rank, new rows": -means("new")}
    if task == "classification":
        ranked["mean rank in log loss"] = means("log_loss")
    for label, values in ranked.items():
        ranks = rankdata(values.round(6), axis=1)
        rows.append([f"**{label}**", *(f"{mean:.2f}" for mean in ranks.mean(axis=0))])
        low, high = bootstrap(ranks, names, tables)
        rows.append(["95 % interval", *(f"{a:.2f} to {b:.2f}" for a, b in zip(low, high))])
        low, high = bootstrap(ranks - ranks[:, :1], names, tables)
        rows.append([f"minus that of {first}", *(f"{a:+.2f} to {b:+.2f}" for a, b in zip(low, high))])
    signs = np.sign((scores[:, :1] - scores).round(6)).T
    rows.append([f"{first} wins / ties / loses", *(" / ".join(str(np.sum(s == k)) for k in (1, 0, -1)) for s in signs)])
    if task == "classification":
        rows.append(["mean log loss", *(f"{mean:.3f}" for mean in means("log_loss").mean(axis=0))])
    rows.append(["mean seconds", *(f"{mean:.2f}" for mean in means("seconds").mean(axis=0))])
    print(f"## {part.capitalize()}, {task}: {'accuracy' if task == 'classification' else 'R2'}\n")
    print_table(["table", *methods], rows)


def bootstrap(values, names, tables):
    """Return 95 % intervals of the column means; tables of one origin are drawn together."""
    groups = np.unique([tables.index()[name]["group"] for name in names], return_inverse=True)[1]
    members = np.eye(groups.max() + 1)[groups]  # (tables, groups)
    counts = np.random.default_rng(0).multinomial(
        members.shape[1], np.full(members.shape[1], 1 / members.shape[1]), DRAWS
    )
    sizes, sums = members.sum(axis=0), members.T @ values
    return np.quantile(counts @ sums / (counts @ sizes)[:, None], [0.025, 0.975], axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=Path(os.environ.get("LTDL_DATA", "data")))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="ranked among themselves; those of each part")
    parser.add_argument("--results", type=Path, default=Path("tabular_suite"), help="folder of the results")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--rows", type=int, help="most training rows of each part but 'published'")
    parser.add_argument("--quick", action="store_true", help="two methods on tables of 50 to 160 rows")
    options = parser.parse_args()
    if options.quick:
        options.parts, options.methods = ["defaults"], options.methods or ["NTK", "linear"]
        ROWS["defaults"] = (50, 160)
    if options.rows:
        MOST_TRAINING_ROWS.update(dict.fromkeys(MOST_TRAINING_ROWS, options.rows))
    tables = read_data(options.data)
    options.results.mkdir(exist_ok=True)
    for part in options.parts:
        methods = options.methods or METHODS_OF[part]
        results = run_part(part, options.data, options.results / f"{part}.jsonl", methods, options.jobs)
        if part == "published":
            report_published(results, options.data)
        else:
            for task in ("classification", "regression"):
                report_defaults(results, tables, task, methods, part)


if __name__ == "__main__":
    main()
