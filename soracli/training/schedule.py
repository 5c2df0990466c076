"""The learning rate as a pure function of the step: nothing to save, nothing to restore. Torch-free."""

from __future__ import annotations

import math

from soracli.training.config import OptimiserConfig


def learning_rate_at(step: int, config: OptimiserConfig, total_steps: int) -> float:
    """Learning rate of one update.

    The warm-up gives ``(step + 1) / (warmup_steps + 1)`` of the peak, so the first update already moves and the
    peak is reached at ``step == warmup_steps``; what follows is spread over the steps that remain.

    Args:
        step: Index of the update, from 0.
        config: Peak, warm-up and shape.
        total_steps: Updates of the whole run; from here on a decaying schedule is 0.

    Returns:
        The learning rate, in [0, config.learning_rate].
    """
    peak, warmup = config.learning_rate, config.warmup_steps
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if config.schedule == "constant":
        return peak
    progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
    if config.schedule == "cosine":
        return peak * 0.5 * (1.0 + math.cos(math.pi * progress))
    decay_steps = max(1.0, config.decay_fraction * total_steps)
    return peak * min(1.0, max(0.0, (total_steps - step) / decay_steps))
