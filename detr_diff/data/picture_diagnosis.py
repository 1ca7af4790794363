"""Findings about the pictures: whether they show anything, the camera and the light."""

from collections.abc import Iterator

import numpy as np

from detr_diff.data.finding import FEWEST, Evidence, Finding, Level
from detr_diff.data.view import View

FLAT = 20.0  # grey levels between the darkest and the brightest parts of a picture with nothing in it
DARK = 40.0  # grey levels; a picture without contrast below it is called nearly black


def diagnose_pictures(evidence: Evidence) -> Iterator[Finding]:
    """The findings, see the single rules below."""
    for rule in (_same, _flat, _views, _camera, _light):
        yield from rule(evidence)


def _same(evidence: Evidence) -> Iterator[Finding]:
    """Whether before and after are copies of one picture."""
    inspected = evidence.inspected
    same = {name: "before and after are the same picture" for name, seen in inspected.items() if seen.same}
    wrong = [name for name in same if len(inspected[name].still)]
    if not wrong or len(same) < min(FEWEST, len(inspected)):
        return
    yield Finding(
        Level.problem if len(same) > len(inspected) / 2 else Level.suspicious,
        "before is after",
        f"before and after are the same picture in {len(same)} of {len(inspected)} pairs, "
        f"{len(wrong)} of them with objects",
        "nothing lights up in the diff, so there is nothing to find",
        "see the before and after columns of pairs.csv, or the names of the frames",
        same,
    )


def _flat(evidence: Evidence) -> Iterator[Finding]:
    """Whether the frames are nearly black, white or grey all over."""
    contrast = {name: seen.contrast for name, seen in evidence.inspected.items()}
    flat = [name for name in contrast if contrast[name] < FLAT]
    if len(flat) <= len(contrast) / 4 or len(flat) < min(FEWEST, len(contrast)):
        return
    brightness = float(np.median([evidence.inspected[name].brightness for name in flat]))
    yield Finding(
        Level.problem if len(flat) > len(contrast) / 2 else Level.suspicious,
        "frames nearly black" if brightness < DARK else "frames without contrast",
        f"the grey levels of {len(flat)} of {len(contrast)} pairs span fewer than {FLAT:.0f} of 256; "
        f"their mean is {brightness:.0f} in the median",
        "what moved differs too little from what did not",
        "frames of more than 8 bits were perhaps cut to 8 without being stretched: write them again, "
        "their range of values stretched to 0 to 255",
        {name: f"grey levels span {contrast[name]:.0f}" for name in sorted(flat, key=lambda n: contrast[n])},
    )


def _views(evidence: Evidence) -> Iterator[Finding]:
    """Whether both frames of a pair show the same place."""
    inspected = evidence.inspected
    apart = {name: seen.apart for name, seen in inspected.items() if seen.view is View.moved}
    other = [name for name, seen in inspected.items() if seen.view is View.other]
    wrong = len(apart) + len(other)
    if not wrong:
        return
    what = f"the frames of {wrong} of {len(inspected)} pairs do not show the same view and cannot be aligned"
    if apart:
        what += (
            f"; {len(apart)} of them would agree {np.median(list(apart.values())):.0f} px apart in the median"
        )
    level = Level.suspicious if wrong > 0.02 * len(inspected) else Level.note
    if wrong >= min(FEWEST, len(inspected)) and wrong > len(inspected) / 4:
        level = Level.problem
    yield Finding(
        level,
        "frames of two views",
        what,
        "all of the picture lights up in the diff, whatever moved",
        "see that before and after belong together, and leave pairs between which the camera was moved out; "
        "data.registration aligns motions of up to 15 % of the shorter side",
        {
            name: f"the frames agree {apart[name]:.0f} px apart"
            for name in sorted(apart, key=lambda n: -apart[n])
        }
        | dict.fromkeys(other, "the frames show different views"),
    )


def _camera(evidence: Evidence) -> Iterator[Finding]:
    moved = {name: seen.moved for name, seen in evidence.inspected.items() if seen.shift is not None}
    turned = [abs(seen.rotation) for seen in evidence.inspected.values()]
    if not moved:
        return
    median, largest = float(np.median(list(moved.values()))), max(moved.values())
    shaken = sum(value > 1.0 for value in moved.values())
    if median <= 0.5 and shaken <= 0.05 * len(moved):
        return
    order = sorted((name for name in moved if moved[name] > 0.5), key=lambda name: -moved[name])
    yield Finding(
        Level.suspicious if shaken > 0.25 * len(moved) and not evidence.aligned else Level.note,
        "camera shake",
        f"the camera moved by {median:.1f} px in the median and {largest:.1f} px at most, turned by at most "
        f"{max(turned):.2f} degrees; by more than one pixel in {shaken} of {len(moved)} pairs",
        "every edge of the scene lights up in the diff",
        "data.registration=ecc aligns the frames; data.diff=tolerant is enough for one pixel",
        {name: f"the camera moved by {moved[name]:.1f} px" for name in order},
    )


def _light(evidence: Evidence) -> Iterator[Finding]:
    # Two views differ in light wherever they were taken.
    compared = {name: seen for name, seen in evidence.inspected.items() if seen.view is View.same}
    light = {name: seen.light for name, seen in compared.items()}
    median = float(np.median(list(light.values()))) if light else 0.0
    bright = sum(value > 10 for value in light.values())
    if median <= 4 and bright <= 0.05 * len(light):
        return
    gains = np.quantile([seen.gain for seen in compared.values()], [0.05, 0.95])
    biases = np.quantile([seen.bias for seen in compared.values()], [0.05, 0.95])
    order = sorted((name for name in light if light[name] > 4), key=lambda name: -light[name])
    yield Finding(
        Level.suspicious if bright > 0.25 * len(light) and not evidence.light_compensated else Level.note,
        "brightness shift",
        f"the light differs by {median:.1f} grey levels in the median and {max(light.values()):.1f} at most "
        f"(gain {gains[0]:.2f} to {gains[1]:.2f}, bias {biases[0]:.0f} to {biases[1]:.0f} in most pairs)",
        "all of the picture lights up in the diff, weak objects drown",
        "data.light_compensation=true",
        {name: f"the light differs by {light[name]:.0f} grey levels" for name in order},
    )
