"""What all tests share: the window's test plugins where Qt and OpenGL load, and a plain reason where they do not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from hypothesis import settings

# In the suite the same cases every time; a campaign (--hypothesis-profile campaign) draws new ones.
settings.register_profile("suite", deadline=None, derandomize=True, max_examples=30)
settings.register_profile("campaign", deadline=None, max_examples=int(os.environ.get("CASES", "1000")))
settings.load_profile("suite")

if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
    # Without a display Qt would end the process; offscreen it has windows, but no OpenGL.
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

OFFSCREEN = os.environ.get("QT_QPA_PLATFORM") == "offscreen"


def _missing() -> str:
    try:
        for library in ("qtpy.QtGui", "qtpy.QtWidgets", "vispy.gloo", "napari.layers", "pytestqt"):
            import_module(library)
    except (ImportError, OSError, RuntimeError) as error:
        return f"the window cannot be tested, its libraries do not load: {error}"
    return ""


MISSING = _missing()


@pytest.fixture(scope="session", autouse=True)
def one_compiler() -> Iterator[None]:
    """Compile kernels in the processes of the tests: other tests use the cores that a second Python would start on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_focus_stack.second_compiler.start_python", lambda *_: None)
        yield


pytest_plugins = ["windows"]

if MISSING:

    def pytest_configure(config: pytest.Config) -> None:
        """Keep the doctests of the panel from being collected: its modules import Qt."""
        config.option.ignore_glob = [*(config.option.ignore_glob or []), "*/napari_plugin/*"]

    @pytest.fixture
    def window_libraries() -> None:
        """Skip, or fail in CI, where nothing may go untested."""
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)

    @pytest.fixture
    def qtbot(window_libraries: None) -> None:
        """Stand in for the fixture of pytest-qt."""

    @pytest.fixture
    def make_napari_viewer(window_libraries: None) -> None:
        """Stand in for the fixture of napari."""

else:
    pytest_plugins += ["pytestqt.plugin", "napari.utils._testsupport"]

    @pytest.fixture
    def window_libraries() -> None:
        """Ask for the libraries of the window; they are here."""

    @pytest.fixture(scope="session")
    def napari_once() -> Iterator[None]:
        """Find plugins once: every window would read all their manifests anew."""
        from npe2 import PluginManager

        import_module("napari_focus_stack.napari_plugin.widget")
        import_module("napari._qt.qt_viewer")
        PluginManager.instance().discover(include_npe1=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PluginManager, "discover", lambda *_, **__: 0)
            yield

    @pytest.fixture
    def make_napari_viewer(napari_once: None, make_napari_viewer: Any) -> Any:
        """Return napari's own fixture."""
        return make_napari_viewer

    @pytest.fixture(autouse=OFFSCREEN)
    def _no_opengl(monkeypatch: pytest.MonkeyPatch) -> None:
        """Answer for OpenGL, which an offscreen window does not have, what napari asks when a layer is added."""
        import_module("napari._qt.qt_viewer")
        answers = {"get_gl_extensions": "texture_float", "get_max_texture_sizes": (16384, 2048)}
        for name, module in list(sys.modules.items()):
            if name.startswith("napari."):
                for function, answer in answers.items():
                    if hasattr(module, function):
                        monkeypatch.setattr(module, function, lambda answer=answer: answer)
