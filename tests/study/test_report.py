"""The page of a comparison: what it holds, and what a real browser makes of it."""

import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, Ridge

from sklearn_ltdl import ComparisonDisplay, compare
from sklearn_ltdl.datasets import make_multi_index
from sklearn_ltdl.study._report import to_html

HOSTILE = "<script>alert(1)</script>", 'a" onmouseover="alert(2)', r"$\frac{x$", "</svg><img src=x onerror=alert(3)>"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def comparison():
    X, y = make_multi_index(80, n_features=5, random_state=0)
    table = pd.DataFrame(X, columns=[*HOSTILE, "plain"])
    also = {HOSTILE[0]: Ridge(), "broken": Ridge(alpha=-1.0)}
    models = ["ntk", "rfm", "lazy", "rich"]
    found = compare(table, y, models=models, also=also, cv=2, repeats=1, curves=True, random_state=0)
    return replace(found, settings={**found.settings, "data": HOSTILE[0], "command": f"ltdl compare {HOSTILE[3]}"})


class Page(HTMLParser):
    """Tags, attributes and the text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.texts = set(), [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.texts.append(data)


def test_hostile_names_stay_text(comparison):
    page = Page(to_html(comparison))
    assert not page.tags & {"script", "img", "iframe", "object", "link", "base", "form"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    text = " ".join(page.texts)
    assert HOSTILE[0] in text
    assert HOSTILE[3] in text


def test_the_page_needs_nothing_but_itself(comparison):
    page = Page(to_html(comparison))
    outside = [value for name, value in page.attributes if name in ("src", "href", "xlink:href") and value[0] != "#"]
    assert outside == []
    policies = [value for name, value in page.attributes if name == "content"]
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in policies
    assert len(to_html(comparison)) < 2e6


def test_drawings_have_ids_of_their_own_that_are_found(comparison):
    """A mark that is used is defined, and once: two drawings of matplotlib share names otherwise."""
    html = to_html(comparison)
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    used = re.findall(r'xlink:href="#([^"]+)"', html) + re.findall(r"url\(#([^)]+)\)", html)
    assert used
    assert set(used) <= set(ids)


def test_verdict_numbers_and_failures_are_on_the_page(comparison):
    text = re.sub(r"\s+", " ", " ".join(Page(to_html(comparison)).texts))
    verdict = comparison.verdict
    assert verdict.sentence in text
    assert (
        text.index(verdict.recommendation.sentence) < text.index(f"Verdict: {verdict.line}") < text.index("The models")
    )
    for row in comparison.methods:
        assert row["failure"] in text if row["failure"] else f"{row['score']:.3f}" in text
    for contrast in verdict.evidence.values():
        assert f"{contrast['question']}:" in text
    for pair in {(contrast["candidate"], contrast["reference"]) for contrast in verdict.evidence.values()}:
        assert text.count(" {} against {} ".format(*pair)) <= 2  # in the table, and beside its mark
    assert comparison.evidence["regime"]["sentence"] in text
    assert comparison.settings["versions"]["numpy"] in text


def test_the_page_and_the_notebook_begin_with_the_answer_and_the_warnings(comparison):
    warned = replace(comparison, settings={**comparison.settings, "warnings": ["A <b>leak</b>?"]})
    for page in (to_html(warned), warned._repr_html_()):
        text = re.sub(r"\s+", " ", " ".join(Page(page).texts))
        assert text.index(comparison.verdict.recommendation.sentence) < text.index("A <b>leak</b>?")
    assert "Before you rely on it" not in to_html(comparison)
    assert not Page(warned._repr_html_()).tags & {"script", "img", "b"}
    assert {"svg", "section"} <= Page(warned._repr_html_()).tags


def test_a_notebook_without_matplotlib_shows_a_table_of_models(comparison, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    shown = Page(comparison._repr_html_())
    assert "svg" not in shown.tags
    ran = [row for row in comparison.methods if not row["failure"]]
    text = " ".join(shown.texts)
    assert all(f"{row['score']:z.3f}" in text for row in ran)


def test_drawings_say_what_they_show_and_are_the_same_each_time(comparison):
    page = to_html(comparison)
    assert page == to_html(comparison)
    labels = [value for name, value in Page(page).attributes if name == "aria-label"]
    drawings = page.count("<svg")
    assert len([label for label in labels if label not in ("Verdict", "Warnings")]) == drawings
    assert all(labels)
    assert len(set(labels)) == len(labels)


def test_drawings_of_models_and_differences_leave_out_the_baseline(comparison):
    display = ComparisonDisplay(comparison).plot()
    ran = {row["method"] for row in comparison.methods if not row["failure"]}
    assert set(display.scores_) == ran - {"dummy"}
    evidence = comparison.verdict.evidence
    assert set(display.contrasts_) == set(evidence) - {"signal"}
    pairs = {(evidence[name]["candidate"], evidence[name]["reference"]) for name in display.contrasts_}
    assert len(set(display.contrasts_.values())) == len(pairs)  # one mark a pair
    plt.close(display.figure_)


def test_the_page_says_how_to_use_the_best_model():
    X, y, weight = np.arange(40.0)[:, None] ** 3, np.arange(40.0), np.ones(40)
    options = {"models": ["linear"], "cv": 2, "repeats": 1}
    comparison = compare(X, y, sample_weight=weight, also={"mine": LinearRegression()}, **options)
    names = {row["method"]: row["loss"] for row in comparison.methods}
    assert min(names, key=names.get) == "mine"
    line = "model = winner(comparison, X, y, sample_weight=sample_weight, also=also)  # a fitted scikit-learn Pipeline"
    assert line in "".join(Page(to_html(comparison)).texts)
    told = {"command": "ltdl compare t.csv --weights w", "data": "t.csv"}
    text = "".join(Page(to_html(replace(comparison, settings={**comparison.settings, **told}))).texts)
    assert "$ ltdl compare t.csv --weights w --save model.skops\n$ ltdl predict model.skops new_rows.csv" in text
    told |= {"command": "ltdl compare t.csv --save a b.skops", "saved": "a b.skops"}
    text = "".join(Page(to_html(replace(comparison, settings={**comparison.settings, **told}))).texts)
    assert text.count("--save") == 1  # the command itself
    assert "$ ltdl predict 'a b.skops' new_rows.csv" in text
    assert "model = skops.io.load('a b.skops', trusted=types)" in text


def test_a_constant_that_is_best_is_not_recommended(rng):
    options = {"models": ["linear"], "cv": 2, "repeats": 1}
    pages = (compare(rng.standard_normal((20, 8)), rng.standard_normal(20), **options) for _ in range(50))
    page = next(to_html(comparison) for comparison in pages if comparison.best == "dummy")
    assert "dummy (least loss)" in page
    assert "Use the best model" not in page
    assert "Columns that matter" not in page  # of no model


def flipped(share):
    """Two far classes, a column that says which and one that does not, and some labels that are wrong."""
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=300)
    wrong = np.zeros(300, bool)
    wrong[rng.choice(300, round(share * 300), replace=False)] = True
    X = pd.DataFrame({"tells": 6.0 * truth + rng.standard_normal(300), "noise": rng.standard_normal(300)})
    return X, pd.Series(np.where(truth ^ wrong, "yes", "no"), name="label"), np.flatnonzero(wrong)


@pytest.fixture(scope="module")
def of_classes():
    X, y, _ = flipped(0.05)
    return compare(X, y, models=["ntk"], cv=3)


def test_the_confusion_table_counts_every_row_once_and_has_the_accuracy(of_classes):
    y = flipped(0.05)[1]
    for part in of_classes.evidence["predicted"]:
        counts = np.array(part["confusion"])
        assert counts.sum() == part["n_rows"] == len(y)
        assert counts.sum(axis=1).tolist() == [(y == label).sum() for label in part["labels"]]
        score = of_classes.to_frame().loc[part["method"], "score"]
        assert np.trace(counts) / len(y) == pytest.approx(score)
        assert sum(part["calibration"]["n_rows"]) == len(y)
        cells = re.findall(
            r"<td[^>]*>(\d+)</td>", to_html(of_classes).split("predicted across")[1].split("</table>")[0]
        )
        assert list(map(int, cells)) == np.ravel(of_classes.evidence["predicted"][0]["confusion"]).tolist()


def test_flipped_labels_rank_first_and_few_are_expected_by_chance(of_classes):
    wrong = {str(row) for row in flipped(0.05)[2]}
    found = of_classes.evidence["suspects"]
    assert set(found["rows"][: len(wrong)]) == wrong
    assert found["found"] > 2 * found["expected"]
    X, y, _ = flipped(0.0)
    clean = compare(X, y, models=["ntk"], cv=3).evidence["suspects"]
    assert abs(clean["found"] - clean["expected"]) <= 3  # of a count with a mean below 3
    assert "<details open>" not in to_html(of_classes)  # the page is short
    assert f"Rows out of line: {found['found']} of 300" in " ".join(" ".join(Page(to_html(of_classes)).texts).split())


def test_a_page_without_curves_has_no_empty_section():
    X, y = np.arange(40.0)[:, None], np.arange(40.0)
    comparison = compare(X, y, models=["linear"], cv=2, repeats=1)
    page = to_html(comparison)
    assert "Learning curves" not in page
    assert "Rows out of line" not in page  # the NTK was not compared
    assert "What the models learned" not in page


@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_it_without_a_word_or_a_request(comparison, width, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    file = tmp_path / "report.html"
    long = {"answer": "undecided", "candidate": "boosting", "reference": "boosting"}
    evidence = {name: question | long for name, question in comparison.verdict.evidence.items()}
    comparison = replace(comparison, verdict=replace(comparison.verdict, evidence=evidence))
    file.write_text(to_html(comparison), encoding="utf-8")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 800})
        said, asked = [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        assert said == []
        assert asked == [file.as_uri()]
        assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing to scroll sideways
        sizes = page.evaluate(
            "[...document.querySelectorAll('td, p, dd')].map(cell => parseFloat(getComputedStyle(cell).fontSize))"
        )
        assert min(sizes) >= 14
        claim = page.locator(".claim").bounding_box()
        assert claim["y"] < 400  # the answer is seen first
        if width < 400:
            assert page.evaluate("document.documentElement.scrollHeight") < 2500
        page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        lines = page.evaluate(
            """[...document.querySelectorAll('.answer')].map(cell => {
                const text = document.createRange();
                text.selectNodeContents(cell);
                return text.getClientRects().length;
            })"""
        )
        assert set(lines) == {1}  # a word such as undecided is not broken
        marks = page.evaluate("[...document.querySelectorAll('svg use')].map(e => e.getBoundingClientRect().width)")
        assert max(marks) > 0  # of the drawings
        browser.close()
