import numpy as np
import pytest

from napari_focus_stack import focus_stack
from napari_focus_stack.auto_choices import AUTOMATIC
from napari_focus_stack.options import AUTO, OPTION_SPECS
from napari_focus_stack.synthetic import make_scene


def test_every_option_that_may_be_auto_tells_what_it_chose():
    assert {name for name, spec in OPTION_SPECS.items() if spec.auto or AUTO in spec.choices} == set(AUTOMATIC)


@pytest.mark.parametrize("name", ["bumps", "beads", "cells"])
def test_giving_what_auto_chose_gives_the_same_picture(name):
    # Of 96 x 128 px, phase that changes feigns motion, and cells are moved apart: then only a part is transparent.
    scene = make_scene(name, (192, 256), slices=12)
    left_to_it = focus_stack(scene.stack, **dict.fromkeys(AUTOMATIC, AUTO))
    assert set(left_to_it.chosen) == set(AUTOMATIC)
    told = focus_stack(scene.stack, **{option: choice.value for option, choice in left_to_it.chosen.items()})
    assert not told.chosen
    np.testing.assert_array_equal(told.image, left_to_it.image)
    np.testing.assert_array_equal(told.height, left_to_it.height)


def test_the_kinds_of_specimen_are_told_apart():
    for name, light in (("bumps", "opaque"), ("beads", "glowing"), ("cells", "transparent")):
        assert focus_stack(make_scene(name, (128, 128), slices=12).stack).chosen["light"].value == light


def test_what_the_user_sets_is_not_told_as_chosen():
    stack = make_scene("plane", (48, 64), slices=4).stack
    assert list(focus_stack(stack, levels=2, noise=(1.0, 9.0)).chosen) == ["light"]
