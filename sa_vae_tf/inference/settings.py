"""How a posterior is refined, and how the refinement is differentiated."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Any

from sa_vae_tf.inference.kept import Keep

PRODUCTS = ("exact", "finite_difference", "authors")
SCOPES = ("example", "batch")


@dataclasses.dataclass(frozen=True)
class RefinementSettings:
    """How a posterior is refined and how the refinement is differentiated.

    Attributes:
      step_size_mean: learning rate of the mean. It multiplies the gradient of one example's bound, so a rate
        given for the mean bound over a batch, as in the paper, is to be divided by that batch size; default the
        paper's rate of 1 for a batch of 50.
      step_size_log_variance: learning rate of the log variance.
      momentum: share of the velocity kept from step to step, in [0, 1).
      clip_norm: largest norm of the mean part and of the log-variance part of a step's gradient; None for none.
        The clip is part of the function that is differentiated.
      product_clip_norm: largest norm of the derivatives before and after each Hessian-vector product; None for
        none, which alone gives the true derivative. It is on the scale of a loss that is the mean of the bounds. After
        a product the part of the posterior is clipped, and that of the context and the weights, all of these as one:
        its length depends on what is in the context, that is on what a decoder computes ahead. The product 'authors'
        uses `clip_norm` instead.
      clip_scope: 'example', or 'batch' as the authors (see `clipping`).
      product: 'exact', 'finite_difference' or 'authors' (see `products`).
      finite_difference_step: see `products.finite_difference`.
      patience: an example is refined no further once so many steps in a row found no lower bound than its lowest; None
        for all steps.
      reverse_steps: steps, counted back from an example's last, that are differentiated. The gradients of those before
        count as constants, so that with 0 the derivative goes straight through; None for all, the true derivative.
      keep: numbers of steps, counted back from the last, of which the small results that the bound marks as `kept`, the
        medium ones besides, and all are kept in memory for the reverse pass of an exact product; of use where the
        number of steps is known and `patience` is None.
    """

    step_size_mean: float = 0.02
    step_size_log_variance: float = 0.02
    momentum: float = 0.5
    clip_norm: float | None = None
    product_clip_norm: float | None = None
    clip_scope: str = "example"
    product: str = "exact"
    finite_difference_step: float | None = None
    patience: int | None = None
    reverse_steps: int | None = None
    keep: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self):
        for name in ("step_size_mean", "step_size_log_variance", "momentum"):
            if not isinstance(getattr(self, name), numbers.Real):  # Of a tensor there would be no derivative.
                raise ValueError(f"{name}={getattr(self, name)!r}: expected a number of Python or NumPy")
        for name in ("step_size_mean", "step_size_log_variance"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name}={getattr(self, name)}: expected a finite number that is not negative")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum={self.momentum}: expected a number in [0, 1)")
        for name in ("clip_norm", "product_clip_norm", "finite_difference_step"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, numbers.Real) and 0 < float(value) < math.inf):
                raise ValueError(f"{name}={value!r}: expected a finite positive number, or None")
        for name, low in (("patience", 1), ("reverse_steps", 0)):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, numbers.Integral) and int(value) >= low):
                raise ValueError(f"{name}={value!r}: expected a whole number of at least {low}, or None")
        counts = self.keep if isinstance(self.keep, tuple) else ()
        if len(counts) != 3 or not all(isinstance(count, numbers.Integral) and count >= 0 for count in counts):
            raise ValueError(f"keep={self.keep!r}: expected a tuple of three numbers of steps")
        if self.clip_scope not in SCOPES:
            raise ValueError(f"clip_scope={self.clip_scope!r}: expected one of {', '.join(SCOPES)}")
        if self.product not in PRODUCTS:
            raise ValueError(f"product={self.product!r}: expected one of {', '.join(PRODUCTS)}")
        if self.product == "authors" and self.clip_scope != "batch":
            raise ValueError("product='authors' clips over the batch: it needs clip_scope='batch'")
        if self.patience is not None and self.clip_norm is not None and self.clip_scope == "batch":
            raise ValueError(f"patience={self.patience}: expected None with clip_scope='batch', which couples examples")
        if self.product == "authors" and not self.differentiates_every_step:
            raise ValueError("product='authors' goes through every step: it needs patience=None, reverse_steps=None")

    @property
    def differentiates_every_step(self) -> bool:
        """Whether no step is left out, by patience or by `reverse_steps`."""
        return self.patience is None and self.reverse_steps is None

    @property
    def differentiates_bounds(self) -> bool:
        """Whether the bounds along the path have derivatives, too."""
        return self.product != "authors" and self.differentiates_every_step

    def steps_that_may_keep(self, steps: int) -> int:
        """Returns of how many of so many steps, the last ones, the reverse pass may find something kept."""
        if self.product != "exact" or self.patience is not None:
            return 0
        return steps if self.reverse_steps is None else min(steps, self.reverse_steps)

    def segments(self, steps: Any) -> list[tuple[int, Any, Keep]]:
        """Returns what the steps of a refinement keep: first step, end, and what, of segments none of which is empty.

        Args:
          steps: their number, an integer or a scalar tensor.
        """
        if not isinstance(steps, int):
            return [(0, steps, Keep.NOTHING)]
        most = self.steps_that_may_keep(steps)
        # Who keeps more keeps what is smaller too.
        counts = [min(most, max(self.keep[level:])) for level in range(len(self.keep))]
        ends = [0, *(steps - count for count in counts), steps]
        return [(ends[keep], ends[keep + 1], keep) for keep in Keep if ends[keep] < ends[keep + 1]]
