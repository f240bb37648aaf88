"""``python -m hea_jax``: the same as the ``hea-jax`` script."""

import sys

from hea_jax.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
