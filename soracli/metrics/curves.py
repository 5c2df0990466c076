"""Curves of a training: thinned, with the scatter around them, and one run's beside another's. Torch-free.

A curve is a row of stretches of steps. Each has the mean of what was logged in it, how many values that were, and how
far a single value scatters around the curve there. So two runs that log at other steps can still be compared: by their
means over the same stretches, with a tolerance that the reference's own scatter gives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Value = tuple[int, float]
"""A step and what was measured at it."""
State = Literal["on track", "ahead", "behind", "diverged", "too early"]

MOST_POINTS: Final = 100
"""Stretches of a curve, at most."""
SIGMAS: Final = 3.0
"""Tolerance in standard errors of a difference of two means."""
LEAST_TOLERANCE: Final = 0.03
"""Least tolerance as a share of all that the reference's curve moves through: seeds differ more than one run shows."""
LATEST: Final = 0.1
"""Share of what two runs have in common, at its end, that is judged."""
LOST: Final = 0.5
"""Share of the reference's progress that a run must have lost again since its best to have diverged."""
_NEIGHBOURS: Final = (4, 7)
"""Values on either side, at least and at most, that say how much values scatter at a place: a tenth of all."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What was measured of one thing; all of one length.

    Attributes:
        steps: Last step of each stretch, rising; it begins after the stretch before.
        values: Mean over the stretch.
        counts: Values in it.
        scatter: Standard deviation of single values around the curve there.
    """

    steps: tuple[int, ...]
    values: tuple[float, ...]
    counts: tuple[int, ...]
    scatter: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One metric of a run beside the reference's.

    Attributes:
        state: ``on track`` within tolerance, ``ahead`` or ``behind`` outside of it, ``diverged`` when the last value is
            not finite or more than ``LOST`` of the progress is lost, ``too early`` without a common stretch. A metric
            that has no better and worse is ``on track`` or nothing.
        step: Last step that both have, 0 without any.
        run: Mean over the latest stretches; None without any.
        reference: The same of the reference.
        tolerance: How far the two may lie apart.
        steps_behind: How many steps earlier the reference was where the run is now; 0 unless ``behind``.
        outside: Stretches, of all that both have, in which they lie further apart than tolerance allows.
        stretches: How many both have.
        finite: Whether the run's last value is.
        course: The run's means in these stretches, in order.
    """

    state: State | None
    step: int
    run: float | None
    reference: float | None
    tolerance: float | None
    steps_behind: int
    outside: int
    stretches: int
    finite: bool
    course: tuple[float, ...]


def thin_curve(values: Sequence[Value], most: int = MOST_POINTS) -> Curve:
    """The curve of what was logged; values that are not finite are left out.

    Args:
        values: Steps rising.
        most: Stretches at most; each holds as many values as the others, the last perhaps fewer.

    Raises:
        ValueError: If no value is finite.
    """
    finite = [(step, value) for step, value in values if math.isfinite(value)]
    if not finite:
        raise ValueError("a curve needs at least one finite value")
    scatter = _scatter(finite)
    size = math.ceil(len(finite) / most)
    parts = [slice(first, first + size) for first in range(0, len(finite), size)]
    return Curve(
        steps=tuple(finite[part][-1][0] for part in parts),
        values=tuple(_mean([value for _, value in finite[part]]) for part in parts),
        counts=tuple(len(finite[part]) for part in parts),
        scatter=tuple(_root_mean_square(scatter[part]) for part in parts),
    )


def compare_curves(reference: Curve, values: Sequence[Value], direction: int) -> Comparison:
    """Where a run stands.

    The run's means over the reference's stretches are compared with the reference's. The verdict is that of the latest
    ``LATEST`` of the stretches together: the tolerance is ``SIGMAS`` standard errors of the difference, from the
    reference's scatter and the numbers of values in both, at least ``LEAST_TOLERANCE`` of the whole curve's range.

    Args:
        reference: Its curve.
        values: All that the run logged, steps rising.
        direction: 1 when more is better, -1 when less is, 0 when neither.
    """
    means, counts = _means_over(reference, values)
    held = [number for number, count in enumerate(counts) if count]
    finite = not values or math.isfinite(values[-1][1])
    course = tuple(means[number] for number in held)
    if not held:
        return Comparison(
            state=None if not direction else "too early" if finite else "diverged",
            step=0,
            run=None,
            reference=None,
            tolerance=None,
            steps_behind=0,
            outside=0,
            stretches=0,
            finite=finite,
            course=(),
        )
    least = LEAST_TOLERANCE * (max(reference.values) - min(reference.values))

    def apart(numbers: Sequence[int]) -> tuple[float, float, float]:
        # Means of both over some stretches, and how far they may lie apart.
        ours, theirs = _mean([means[n] for n in numbers]), _mean([reference.values[n] for n in numbers])
        error = math.sqrt(1 / sum(counts[n] for n in numbers) + 1 / sum(reference.counts[n] for n in numbers))
        return ours, theirs, max(least, SIGMAS * error * _root_mean_square([reference.scatter[n] for n in numbers]))

    single = [apart([number]) for number in held]
    width = math.ceil(LATEST * len(held))
    run, expected, tolerance = apart(held[-width:])
    step = reference.steps[held[-1]]
    gained = direction * (run - expected)
    state: State | None = None
    steps_behind = 0
    if direction:
        best = max(direction * _mean(course[end - width : end]) for end in range(width, len(course) + 1))
        progress = abs(expected - reference.values[0])
        lost = best - direction * run > max(LOST * progress, tolerance)
        if not finite or (lost and gained < -tolerance):
            state = "diverged"
        elif gained < -tolerance:
            state, steps_behind = "behind", step - _step_at(reference, run, direction, step)
        else:
            state = "ahead" if gained > tolerance else "on track"
    return Comparison(
        state=state,
        step=step,
        run=run,
        reference=expected,
        tolerance=tolerance,
        steps_behind=steps_behind,
        outside=sum(abs(ours - theirs) > allowed for ours, theirs, allowed in single),
        stretches=len(held),
        finite=finite,
        course=course,
    )


def _means_over(reference: Curve, values: Sequence[Value]) -> tuple[list[float], list[int]]:
    """Mean and number of the run's finite values in each of the reference's stretches that it has passed."""
    sums, counts = [0.0] * len(reference.steps), [0] * len(reference.steps)
    place, last = 0, values[-1][0] if values else 0
    for step, value in values:
        while place < len(reference.steps) and step > reference.steps[place]:
            place += 1
        if place == len(reference.steps) or reference.steps[place] > last:
            break
        if math.isfinite(value):
            sums[place] += value
            counts[place] += 1
    return [total / count if count else math.nan for total, count in zip(sums, counts, strict=True)], counts


def _step_at(reference: Curve, value: float, direction: int, latest: int) -> int:
    """The step at which the reference was as far as ``value``, at most ``latest``; 0 if it never was that bad."""
    rising = _rising([direction * each for each in reference.values])
    wanted = direction * value
    number = next((number for number, each in enumerate(rising) if each >= wanted), len(rising))
    if number == 0:
        return 0
    if number == len(rising):
        return latest
    before, after = rising[number - 1], rising[number]
    share = (wanted - before) / (after - before)
    first, second = reference.steps[number - 1], reference.steps[number]
    return min(latest, round(first + share * (second - first)))


def _rising(values: Sequence[float]) -> list[float]:
    """The nearest values, in mean square, that never fall: neighbours that do are pooled."""
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, count = value, 1
        while pools and pools[-1][0] >= mean:
            before, number = pools.pop()
            mean, count = (before * number + mean * count) / (number + count), number + count
        pools.append((mean, count))
    return [mean for mean, count in pools for _ in range(count)]


def _scatter(values: Sequence[Value]) -> list[float]:
    """Standard deviation of single values around the curve at each value.

    From how far values lie from the straight line between their two neighbours, which a slope does not change (Gasser,
    Sroka and Jennen-Steinmetz 1986), over the nearest values. All 0 with fewer than three.
    """
    squares = []
    for (x0, y0), (x1, y1), (x2, y2) in zip(values, values[1:], values[2:], strict=False):
        share = (x1 - x0) / (x2 - x0)
        off = y1 - (y0 + share * (y2 - y0))
        squares.append(off**2 / (1 + share**2 + (1 - share) ** 2))
    if not squares:
        return [0.0] * len(values)
    fewest, most = _NEIGHBOURS
    reach = min(max(fewest, len(values) // 10), most)
    middles = [min(max(place - 1, 0), len(squares) - 1) for place in range(len(values))]
    return [math.sqrt(_mean(squares[max(0, middle - reach) : middle + reach + 1])) for middle in middles]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _root_mean_square(values: Sequence[float]) -> float:
    return math.sqrt(_mean([value**2 for value in values]))
