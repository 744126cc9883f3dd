"""Where every slice lies and how bright it is, against a reference slice: estimated, kept, and applied as slices come.

`register` finds how one slice lies on the next, `brightness` how bright it is. `smooth_motion` makes the motions steady
along z, `record` keeps them, and `aligner` does all of it for a stack, resampling each slice once (`warp`).
"""
