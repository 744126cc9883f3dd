import pytest

from napari_focus_stack import FocusStackOptions, InputError
from napari_focus_stack.options import OPTION_SPECS


def test_every_default_is_accepted_and_explained():
    assert FocusStackOptions() == FocusStackOptions.of()
    for spec in OPTION_SPECS.values():
        assert spec.help.endswith(".")
        assert spec.label


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("method", "best", "unknown method 'best'; choose one of laplacian,"),
        ("align", "sideways", "unknown align 'sideways'; choose one of none, auto"),
        ("levels", 0, "levels must be 'auto' or a whole number from 1 to 8, got 0"),
        ("levels", 9, "levels must be 'auto' or a whole number from 1 to 8, got 9"),
        ("levels", 2.5, "levels must be 'auto' or a whole number from 1 to 8, got 2.5"),
        ("levels", True, "levels must be"),
        ("levels", "many", "levels must be"),
        ("noise", (1,), "noise must be 'auto' or two numbers"),
        ("noise", (-1, 0), "noise must be 'auto' or two numbers"),
        ("noise", "loud", "noise must be 'auto' or two numbers"),
        ("denoise", 1.5, "denoise must be a number from 0 to 1, got 1.5"),
        ("denoise", float("nan"), "denoise must be a number from 0 to 1"),
        ("z_preference", -0.6, "z_preference must be a number from -0.5 to 0.5"),
        ("height_smoothing_px", -1, "height_smoothing_px must be a number from 0 to 100"),
        ("fill_height", "yes", "fill_height must be true or false"),
        ("reference_channel", -1, "reference_channel must be 'all' or a whole number of at least 0"),
        ("sharpness_measure", "wow", "unknown sharpness_measure 'wow'"),
    ],
)
def test_what_is_refused_is_told_in_a_sentence(name, value, sentence):
    with pytest.raises(InputError) as refusal:
        FocusStackOptions(**{name: value})
    assert sentence in str(refusal.value)
    assert str(refusal.value).count("\n") == 0


def test_an_unknown_option_is_named():
    with pytest.raises(InputError, match="no option is called 'levles'"):
        FocusStackOptions.of(levles=3)


def test_changes_leave_the_rest():
    base = FocusStackOptions(levels=3)
    assert FocusStackOptions.of(base, denoise=1).levels == 3
