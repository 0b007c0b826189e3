"""`python -m neural`, the same as `neural`."""

import sys

from neural.cli import main

sys.exit(main())
