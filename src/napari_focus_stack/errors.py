"""The exception for wrong input: what was expected, what came, and what to do."""


class InputError(ValueError):
    """Bad input, told in one sentence: what was expected, what came, what to do.

    The command line prints it without a traceback and exits with status 1; the
    panel shows it and is usable again. Anything else that is raised is a bug.

    Examples
    --------
    >>> from napari_focus_stack import sharpness
    >>> try:
    ...     sharpness([[1, 2], [3, 4]], "clearness")
    ... except InputError as error:
    ...     print(str(error)[:36])
    unknown sharpness measure 'clearness
    """
