"""Quick looks of the panel: whether one is worth while, what it shows, and when it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .heights import HeightScale, HeightView
from .pace import SECONDS_PER_VALUE
from .preview import InView, Pasted, Preview, PreviewMaker, PreviewPlan, plan_preview

if TYPE_CHECKING:
    from ..options import FocusStackOptions
    from .host import PanelHost

# A run as short as this needs no quick look.
_WHOLE_AT_ONCE_S = 0.15


class QuickLooks:
    """Plans quick looks by what the last runs took, and shows them over the last result.

    Attributes
    ----------
    seconds_per_value : float
        What the last run that tells took for every value of its stack.
    """

    def __init__(self, host: PanelHost) -> None:
        self._host = host
        self._maker, self._pasted = PreviewMaker(), Pasted()
        self.seconds_per_value = SECONDS_PER_VALUE
        self._rate_of_method: dict[str, float] = {}

    def learn(self, seconds_per_value: float | None) -> None:
        """Take note of how long a whole run took, if that is known; its result is on show now."""
        if seconds_per_value is not None:
            self.seconds_per_value = seconds_per_value
        # The result before takes its own pixels back unseen: another layer may show them, too.
        self._pasted.lift(refresh=False)

    def plan(self, options: FocusStackOptions) -> tuple[PreviewMaker, PreviewPlan] | None:
        """Return what to show before the whole is there; None where that takes no longer, or nothing is in view."""
        host = self._host
        shown, fused = host.shown_of_chosen(), host.shown_layer("image")
        if shown is None or fused is None:
            return None
        choice, stack = shown.choice, shown.choice.stack
        position = host.position_in_view(choice)
        given = host.given_alignment()
        aligns = options.aligns or given is not None
        if aligns and (options.crop or (given is None and position not in shown.alignments_for(options, None))):
            # Where the slices lie is not known before the whole was looked at.
            return None
        if stack.result_array(bool, colour=True).shape != fused.data.shape:
            return None
        layers = host.result_layers.of(choice.key)
        in_view = next((seen for layer in layers.values() if (seen := InView.of(layer, choice, host.viewer))), None)
        expected_s = self.seconds_per_value * int(np.prod(stack.pixels.shape))
        if in_view is None or expected_s < _WHOLE_AT_ONCE_S:
            return None
        # Levelled or masked heights are those of the whole map.
        plain = host.height_view() == HeightView(trust=host.height_view().trust)
        fields = tuple(field for field in layers if layers[field].visible and (field != "height" or plain))
        rate = self._rate_of_method.get(options.method, self.seconds_per_value)
        return self._maker, plan_preview(stack, position, in_view, options, shown.results, fields, rate)

    def show(self, preview: Preview, options: FocusStackOptions) -> None:
        """Show a quick look in the layers of the result on show."""
        shown = self._host.shown_of_chosen()
        if shown is None:
            return
        if preview.seconds_per_value is not None:
            self._rate_of_method[options.method] = preview.seconds_per_value
        if "height" in preview.pixels:
            preview.pixels["height"] *= np.float32(HeightScale.of(shown.choice).step)
        self._pasted.paste(preview, self._host.result_layers.of(shown.choice.key), shown.choice.stack)

    def lift(self) -> None:
        """Show the last result again."""
        self._pasted.lift()

    def forget(self) -> None:
        """Let go of all pixels: their stack is gone."""
        self._pasted.forget()
        self._maker.forget()
