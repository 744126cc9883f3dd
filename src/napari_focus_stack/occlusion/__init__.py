"""Near things before far ones: a near object out of focus lays its blur over what lies behind it.

`two_peaks` keeps the two heights that a pixel beside an edge sees, `depth_edges` finds the edges, `disc_blur` what a
lens makes of them, and `rims` gives such edges sharp rims and a wall without blur.
"""
