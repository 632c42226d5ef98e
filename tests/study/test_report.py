"""The page of a comparison: what it holds, and what a real browser makes of it."""

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, Ridge

from sklearn_ltdl import compare
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
    assert comparison.verdict.sentence in text
    for row in comparison.methods:
        assert row["failure"] in text if row["failure"] else f"{row['score']:.3f}" in text
    for contrast in comparison.verdict.evidence.values():
        assert contrast["question"] in text
        assert f"{100 * contrast['low']:z.1f} to {100 * contrast['high']:z.1f}" in text
    assert comparison.evidence["regime"]["sentence"] in text
    assert comparison.settings["versions"]["numpy"] in text


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


def test_a_page_without_curves_has_no_empty_section():
    X, y = np.arange(40.0)[:, None], np.arange(40.0)
    comparison = compare(X, y, models=["linear"], cv=2, repeats=1)
    assert "Beside the verdict" not in to_html(comparison)


@pytest.mark.parametrize("width", [360, 1200])
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
        assert claim["y"] < 400  # the verdict is seen first
        lines = page.evaluate(
            """[...document.querySelectorAll('[data-label=answer]')].map(cell => {
                const text = document.createRange();
                text.selectNodeContents(cell);
                return text.getClientRects().length;
            })"""
        )
        assert set(lines) == {1}  # a word such as undecided is not broken
        marks = page.evaluate("[...document.querySelectorAll('svg use')].map(e => e.getBoundingClientRect().width)")
        assert max(marks) > 0  # of the drawings
        browser.close()
