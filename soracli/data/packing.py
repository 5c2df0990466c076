"""Filling sequences with whole samples: which samples stand together, and which sequences a step and a rank get.

A plan is a pure function of the numbers it is made for: it draws samples one after another until so many sequences
are full, and the steps of the plan take those sequences. So nothing has to be kept to go on with a run (every rank and
every resumed run makes the same plan again), every drawn sample is shown exactly once, and the choice is fair: when to
stop drawing depends on what was drawn and never on what comes next, so by Wald's identity long and short samples are
shown in the proportion in which they are drawn. Keeping what does not fit for the next plan would fill the last
sequence, but then a step would depend on all steps before it.

Source: greedy packing of NaViT (Dehghani et al. 2023, arXiv:2307.06304, section 2.2). Differs from the source: first
fit in decreasing order over many sequences at once, then levelled by counted work. Torch-free.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from soracli.core.errors import DataError

PLANNED_SEQUENCES = 128
"""Sequences of a plan, at least. The last one that is opened stays partly empty: less than 1 in 128 places is lost."""
_LEVELLED = (1.0, 0.97, 0.94, 0.9, 0.8, 0.6)
"""Shares of the tokens that are spread by work, tried in turn until all samples find room."""
_MOST_REFUSED = 1000
"""Samples in a row that are too long before it is said that none fits."""


@dataclass(frozen=True)
class Plan:
    """Sequences of several steps.

    Attributes:
        steps: Sequences of each step, the one with most work first; a sequence is the numbers of its samples.
        lengths: Tokens of the samples that are shown, by number.
        left_out: Tokens of those that are longer than a sequence and shown nowhere, by number.
        budget: Tokens of a sequence, at most.
    """

    steps: tuple[tuple[tuple[int, ...], ...], ...]
    lengths: dict[int, int]
    left_out: dict[int, int]
    budget: int

    @property
    def padding(self) -> float:
        """Share of places in all sequences that hold no token."""
        return 1 - sum(self.lengths.values()) / (self.budget * sum(map(len, self.steps)))


def planned_steps(sequences: int) -> int:
    """Steps of a plan, if a step has so many sequences."""
    return -(-PLANNED_SEQUENCES // sequences)


def make_plan(
    length_of: Callable[[int], int], budget: int, sequences: int, work: Callable[[int], float], seed: int
) -> Plan:
    """Draw samples until the sequences of ``planned_steps`` are full, and say which goes where.

    Args:
        length_of: Tokens of sample 0, 1, 2 and so on; asked in this order.
        budget: Tokens of a sequence, at most.
        sequences: Of a step, over all ranks.
        work: Counted work of a sample with so many tokens, in any unit.
        seed: Decides the order of the steps.

    Raises:
        DataError: If no sample fits a sequence; says how many tokens the shortest has.
    """
    count = planned_steps(sequences) * sequences
    numbers, lengths, left_out, bins = _fill(length_of, budget, count)
    costs = [work(length) for length in lengths]
    for share in _LEVELLED:
        levelled = level(lengths, costs, budget, count, share)
        if levelled is not None and all(levelled):
            bins = levelled
            break
    # Neighbours in the order of work stand in one step, so no rank waits long for another.
    bins.sort(key=lambda part: -sum(costs[place] for place in part))
    named = [tuple(sorted(numbers[place] for place in part)) for part in bins]
    steps = [tuple(named[start : start + sequences]) for start in range(0, count, sequences)]
    random.Random(f"order of steps {seed}").shuffle(steps)
    return Plan(tuple(steps), dict(zip(numbers, lengths, strict=True)), left_out, budget)


def first_fit_decreasing(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Places of ``lengths`` in bins of ``budget``: longest first, each into the first bin that has room.

    Uses at most 11/9 of the fewest bins there are, and one (Johnson 1973). All but one are more than half full.
    """
    bins: list[list[int]] = []
    room: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        _first_fit(bins, room, place, lengths[place], budget)
    return bins


def level(
    lengths: Sequence[int], costs: Sequence[float], budget: int, count: int, share: float = 1.0
) -> list[list[int]] | None:
    """Places of ``lengths`` in ``count`` bins of about equal cost: longest first, each where least cost has gathered.

    First fit alone puts all long videos into the first bins and all pictures into the last ones: steps that show one
    kind only. Here every bin gets its share of each, as far as there are enough to share.

    Args:
        lengths: Tokens of each sample.
        costs: Work of each.
        budget: Tokens of a bin, at most.
        count: Bins.
        share: Of all tokens, the longest samples first, that is placed so; the rest goes where least room is left.

    Returns:
        The bins, some of them empty if the rest was little and found room elsewhere; None if a sample finds no room.
    """
    bins: list[list[int]] = [[] for _ in range(count)]
    room, load = [budget] * count, [0.0] * count
    levelled = share * sum(lengths)
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        open_bins = [number for number, left in enumerate(room) if left >= lengths[place]]
        if not open_bins:
            return None
        number = min(open_bins, key=(load if levelled > 0 else room).__getitem__)
        levelled -= lengths[place]
        bins[number].append(place)
        room[number] -= lengths[place]
        load[number] += costs[place]
    return bins


def deal(costs: Sequence[float], ranks: int) -> list[list[int]]:
    """Places of a step's sequences by rank, each rank as many: there and back in decreasing order of cost.

    Raises:
        ValueError: If they cannot be divided equally.
    """
    if len(costs) % ranks:
        raise ValueError(f"{len(costs)} sequences cannot be shared equally by {ranks} ranks")
    dealt: list[list[int]] = [[] for _ in range(ranks)]
    for turn, place in enumerate(sorted(range(len(costs)), key=lambda place: -costs[place])):
        lap, seat = divmod(turn, ranks)
        dealt[seat if lap % 2 == 0 else ranks - 1 - seat].append(place)
    return dealt


def _fill(
    length_of: Callable[[int], int], budget: int, count: int
) -> tuple[list[int], list[int], dict[int, int], list[list[int]]]:
    """The first samples that fill ``count`` sequences: numbers, tokens; what is too long; places in the sequences."""
    numbers: list[int] = []
    lengths: list[int] = []
    left_out: dict[int, int] = {}
    bins: list[list[int]] = []
    number = refused = 0
    while len(bins) < count:
        # First fit as they come, until all sequences are open; in decreasing order they may need fewer: then go on.
        room = [budget - sum(lengths[place] for place in part) for part in bins]
        while len(bins) < count:
            length = length_of(number)
            if length <= budget:
                _first_fit(bins, room, len(lengths), length, budget)
                numbers.append(number)
                lengths.append(length)
                refused = 0
            else:
                left_out[number] = length
                refused += 1
                if refused == _MOST_REFUSED:
                    raise DataError(
                        f"no sample fits samples.max_tokens = {budget}: the shortest of {refused} drawn has "
                        f"{min(left_out.values())} tokens; set it to that at least, or show smaller or shorter clips"
                    )
            number += 1
        together = first_fit_decreasing(lengths, budget)
        bins = together if len(together) <= count else bins  # for a few lengths the sorted order needs one more
    return numbers, lengths, left_out, bins


def _first_fit(bins: list[list[int]], room: list[int], place: int, length: int, budget: int) -> None:
    number = next((number for number, left in enumerate(room) if left >= length), len(bins))
    if number == len(bins):
        bins.append([])
        room.append(budget)
    bins[number].append(place)
    room[number] -= length
