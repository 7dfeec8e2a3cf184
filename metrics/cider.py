"""CIDEr under the name that it is known by, and its command line; it lives in ``metrics.scores.cider``.

python -m metrics.cider build-df --references train.json --out df.npz
"""

import sys

from metrics.scores.cider import PreparedReferences, cider, cider_d

__all__ = ["PreparedReferences", "cider", "cider_d"]

if __name__ == "__main__":
    from metrics.build_df import main

    sys.exit(main())
