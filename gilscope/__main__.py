"""``python -m gilscope`` is the command ``gilscope``."""

import sys

from gilscope.cli import main

sys.exit(main())
