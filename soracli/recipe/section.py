"""The base of every recipe section: frozen, typed, unknown keys forbidden."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """One table of a recipe. Stands torch-free beside the part it configures. Its numbers are finite.

    A field's docstring says what it is, with its unit; ``sora recipe schema`` shows it to editors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
