"""Every setting: its name, unit, default and meaning; where values come from, and why
one is refused. The one room that reads the environment.
"""

from bearerd.settings.profile import ProfileSettings
from bearerd.settings.settings import Folders, Settings, describe, load_settings

__all__ = ["Folders", "ProfileSettings", "Settings", "describe", "load_settings"]
