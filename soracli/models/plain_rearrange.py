"""``einops.rearrange`` for code that leaves the package, where torch is all there is.

Source: Rogozhnikov 2022, Einops (ICLR). Differs from the source: names and brackets are all there is, no ``...``, no 1.
"""

from __future__ import annotations

from torch import Tensor


def rearrange(tensor: Tensor, pattern: str, **sizes: int) -> Tensor:
    """Give axes another order, split them and put them together.

    Args:
        tensor: Any shape.
        pattern: As in ``"b (t s) c -> (b t) s c"``: every name on both sides, brackets around what is one axis.
        sizes: Of names in brackets on the left, all but one of each pair of brackets.

    Raises:
        ValueError: If the shape does not fit.
    """
    before, after = (_axes(side) for side in pattern.split("->"))
    known = dict(sizes)
    for group, size in zip(before, tensor.shape, strict=True):
        open_names = [name for name in group if name not in known]
        rest = size
        for name in group:
            rest //= known.get(name, 1)
        known |= dict.fromkeys(open_names[:1], rest)
        product = 1
        for name in group:
            product *= known[name]
        if product != size:
            raise ValueError(f"an axis of {size} is no {' by '.join(f'{name} = {known[name]}' for name in group)}")
    names = [name for group in before for name in group]
    split = tensor.reshape([known[name] for name in names])
    ordered = split.permute([names.index(name) for group in after for name in group])
    shape = [1] * len(after)
    for place, group in enumerate(after):
        for name in group:
            shape[place] *= known[name]
    return ordered.reshape(shape)


def _axes(side: str) -> list[list[str]]:
    groups: list[list[str]] = []
    inside = False
    for word in side.replace("(", " ( ").replace(")", " ) ").split():
        if word in "()":
            inside = word == "("
            if inside:
                groups.append([])
        elif inside:
            groups[-1].append(word)
        else:
            groups.append([word])
    return groups
