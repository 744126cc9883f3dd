"""Transparent specimens in bright field, whose detail changes along z instead of becoming sharp and blurred.

`phase` tells whether a stack shows one, and where its focus is: from how its detail changes along z (`axial_change`),
unless that is a shift or a zoom of the whole picture (`drift`), and where the peak is clear (`prominence`).
"""
