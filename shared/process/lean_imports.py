"""What a process of a service leaves out although it is installed. `__main__` imports this before all others.

structlog and httpx load rich where they find it, as beside the tests, for colours on a terminal: 4 MB.
"""

import sys

sys.modules["rich"] = None  # type: ignore[assignment] # Python's way to say that a module cannot be imported
