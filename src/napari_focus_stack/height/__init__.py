"""The focus-index map and the height map.

`peaks` keeps the running peak of the focus measure at every pixel, and its place between slices; `regularisation` makes
one height map of the peaks of all pixels.
"""
