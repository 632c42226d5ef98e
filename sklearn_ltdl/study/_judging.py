"""What the results of the fits say: the losses of the splits that decide, contrasts, verdict and recommendation."""

from dataclasses import replace
from typing import NamedTuple

from sklearn_ltdl.study._models import METHODS
from sklearn_ltdl.study._recommendation import in_words, recommend
from sklearn_ltdl.study._scores import score_of
from sklearn_ltdl.study._stages import in_words as about_stages
from sklearn_ltdl.study._verdict import HeldOut, Verdict, decide, draw_contrasts
from sklearn_ltdl.tables._notes import Note, spaced
from sklearn_ltdl.tables._warnings import FEW_EVENTS


class Judged(NamedTuple):
    """What the results of the fits say.

    Parameters
    ----------
    settings : dict
    main : list of int
        Numbers of the splits that decide.
    held_out : HeldOut
        Of those splits.
    scored : dict of tuple
        What `score_of` returns, by method.
    losses : dict of ndarray
        Of the methods that did not fail.
    families : dict of str
    contrasts : dict of Contrast or None
    verdict : Verdict
    earlier : tuple of Judged
        Of earlier stages.
    """

    settings: dict
    main: list
    held_out: HeldOut
    scored: dict
    losses: dict
    families: dict
    contrasts: dict
    verdict: Verdict
    earlier: tuple = ()

    @property
    def verdicts(self):
        """The verdicts of all stages, the last of which is the verdict."""
        return [*(judged.verdict for judged in self.earlier), self.verdict]


def judge(plan, results):
    """Return the Judged of the results of all fits."""
    if plan.settings["stages"] is None:
        return _judge_splits(plan, results, *_in_time(plan, results))
    return _judge_stages(plan, results)


def _judge_stages(plan, results):
    """Return the Judged of the last stage whose fits are done, with those of the stages before it."""
    sizes, by_stage = plan.settings["stages"], {}
    for name, k, _ in plan.jobs:
        if name == "dummy":
            by_stage.setdefault(plan.splits[k].repeat, []).append(k)
    whole = sorted({*by_stage} - unfinished(plan, results)) or [0]
    found = [_judge_splits(plan, results, by_stage[stage], plan.settings) for stage in whole]
    last, verdicts = found[-1], [judged.verdict for judged in found]
    said = about_stages(sizes, verdicts)
    verdict = replace(last.verdict, sentence=f"{last.verdict.sentence} {said}".rstrip())
    settings = last.settings
    if len(found) < len(by_stage):
        text = f"The time was over in the stage of {spaced(sizes[len(found)])} training rows."
        settings = {**settings, "notes": [*settings["notes"], Note("unfinished", text)]}
    return last._replace(verdict=verdict, settings=settings, earlier=tuple(found[:-1]))


def _judge_splits(plan, results, main, settings):
    """Return the Judged of some splits."""
    n_looks = len(settings["stages"] or ())
    held_out = HeldOut.of([plan.splits[k] for k in main], plan.weight, plan.cluster, n_looks)
    scored = {name: score_of(plan, results, name, main, held_out) for name in plan.methods}
    losses = {name: loss for name, (_, _, loss) in scored.items() if loss is not None}
    if "dummy" not in losses:
        failed_fit = scored["dummy"][0]
        raise RuntimeError(f"No model can be fitted, not even the baseline: {failed_fit['failure']}.{_remedy(results)}")
    families = {name: method.family for name, method in plan.methods.items()}
    contrasts = draw_contrasts(losses, families, held_out, settings["margin"])
    verdict = decide(contrasts)
    if settings["n_rows_of_table"] is not None or n_looks:
        n_rows = settings["n_rows_of_table"] or settings["n_rows"]
        at = f"at {spaced(held_out.n_train)} training rows of {spaced(n_rows)}"
        verdict = replace(verdict, at=at)
    if any(note.code == "few events" for note in settings["warnings"]) and verdict.code != "unclear":
        text = (
            f"Some class has fewer than {FEW_EVENTS} rows, too few for a verdict; else it would be: {verdict.sentence}"
        )
        verdict = replace(verdict, code="unclear", needs_features="open", sentence=text)
    usual = {name: summary["usual_score"] for name, (summary, _, _) in scored.items()}
    explained = in_words(settings["task"], settings["target"], usual)
    judged = {name: loss for name, loss in losses.items() if families[name] != "other"}
    advice = recommend(judged, families, held_out, settings["margin"], verdict, explained)
    verdict = replace(verdict, recommendation=advice)
    compared = [name for name in families if families[name] not in ("dummy", "other")]
    if not set(METHODS) - {"dummy"} <= set(compared):  # the verdict says nothing about models that were left out
        verdict = replace(verdict, sentence=f"{verdict.sentence} (Models compared: {', '.join(compared)}.)")
    return Judged(settings, main, held_out, scored, losses, families, contrasts, verdict)


def unfinished(plan, results):
    """Return the stages in which the time was not enough for all fits."""
    late = [k for (name, k, _), result in results.items() if name in plan.methods and result.get("missing") == "time"]
    return {plan.splits[k].repeat for k in late if plan.splits[k].share == 1}


def _remedy(results):
    """Return what to try if the time was over before two folds were done."""
    late = sum(result.get("missing") == "time" for result in results.values())
    if not late:
        return ""
    return (
        f" {len(results) - late} of {len(results)} fits are done, and a verdict needs two whole folds: give more time, "
        "or fewer models or rows. A journal keeps the fits that are done."
    )


def _in_time(plan, results):
    """Return the numbers of the splits that decide, and the settings, with a note if there was no time for all.

    These are the draws of the folds that are whole, or else the folds in which all methods are done that are done in at
    least two. The other methods fail.
    """
    splits, methods, settings = plan.splits, plan.methods, plan.settings
    main = [k for k, split in enumerate(splits) if split.share == 1]
    late = [identifier for identifier, result in results.items() if result.get("missing") == "time"]
    cut = {(name, k) for name, k, _ in late if name in methods and k in main}
    whole = {splits[k].repeat for k in main} - {splits[k].repeat for _, k in cut}
    if whole:
        kept = [k for k in main if splits[k].repeat in whole]
        done = f"{len(whole)} of {settings['repeats']} draws of the folds"
        settings = {**settings, "repeats": len(whole)}
    else:
        done_in = {name: [k for k in main if (name, k) not in cut] for name in methods}
        missing = [name for name in methods if len(done_in[name]) < 2]
        kept = [k for k in main if all(k in done_in[name] for name in methods if name not in missing)]
        if len(kept) < 2 or "dummy" in missing or len(missing) == len(methods) - 1:
            return main, settings
        done, settings = f"{len(kept)} of {len(main)} folds", {**settings, "repeats": 1}
        if missing:
            done += f"; {', '.join(missing)} had no time for two folds"
    if len(kept) == len(main):
        return main, settings
    return kept, {**settings, "notes": [*settings["notes"], Note("unfinished", f"The verdict rests on {done}.")]}
