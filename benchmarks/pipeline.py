"""The benchmark of the whole pipeline, under the name of what it measures; whole_run.py says how.

.venv/bin/python benchmarks/pipeline.py --json benchmarks/results/pipeline.json
"""

import importlib
import sys
from pathlib import Path

if __name__ == "__main__":
    from whole_run import main

    main()
else:
    # Another script of this folder means the package, and finds this file first.
    searched = list(sys.path)
    sys.path[:] = [folder for folder in searched if Path(folder).resolve() != Path(__file__).parent]
    del sys.modules[__name__]
    importlib.import_module(__name__)
    sys.path[:] = searched
