"""The scripts of data_prep import each other by their folder, as they do when they are run."""

import sys
from pathlib import Path

SCRIPTS = str(Path(__file__).parents[2] / "data_prep")
if SCRIPTS not in sys.path:
    sys.path.insert(0, SCRIPTS)
