"""How Sphinx builds the documentation: `make docs`, or `sphinx-build -W docs OUT`."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "Amprenta RTC"
author = "Amprenta RTC contributors"
release = version = version_of("jupyter-rtc-amprenta")

extensions = ["myst_parser", "from_code"]
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_ext"]
nitpicky = True

html_theme = "furo"
html_title = "Amprenta RTC"
html_copy_source = False
