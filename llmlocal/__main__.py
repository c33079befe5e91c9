"""`python -m llmlocal`: the only file of this package that knows there is a terminal program."""

import sys

from .cli.main import main

sys.exit(main())
