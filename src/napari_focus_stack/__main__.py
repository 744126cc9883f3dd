"""Run the command line with `python -m napari_focus_stack`."""

from .cli import main

if __name__ == "__main__":
    main()
