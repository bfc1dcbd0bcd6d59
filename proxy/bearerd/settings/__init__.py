"""Every setting: its name, unit, default and meaning; where its value comes from; and the
error for an invalid value. The only package that reads the environment.
"""

from bearerd.settings.folders import Folders
from bearerd.settings.loading import config_path, list_settings, load_settings
from bearerd.settings.profile import ProfileSettings
from bearerd.settings.settings import Settings

__all__ = [
    "Folders",
    "ProfileSettings",
    "Settings",
    "config_path",
    "list_settings",
    "load_settings",
]
