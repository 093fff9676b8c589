"""Runs once, in the finished tree: matplotlib's font list as JSON on stdout."""

import json

from matplotlib import font_manager

# The class that matplotlib itself writes its cache with: paths of bundled fonts become relative.
print(json.dumps(font_manager.FontManager(), cls=font_manager._JSONEncoder, indent=1, sort_keys=True))
