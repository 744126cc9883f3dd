"""The napari side: the panel, the sample stacks, and the way between layers and the core."""
