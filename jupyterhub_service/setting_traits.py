"""The service's settings as traits, made from the one table of `core.settings`, so that neither can drift."""

from __future__ import annotations

from typing import Any

from traitlets import HasTraits

from jupyter_rtc_amprenta.core.settings import VARIABLES
from jupyter_rtc_amprenta.core.traits import trait

# What only a user's server reads.
_NOT_OURS = {
    "collaboration_yjs_url",
    "rtc_api_url",
    "api_url",
    "local_store",
    "shared_folder",
    "one_server_per_home",
    "open_timeout",
    "page_url",
}

FIELDS = tuple(variable.field for variable in VARIABLES if variable.field not in _NOT_OURS)

SettingTraits: type[Any] = type(HasTraits)(
    "SettingTraits", (HasTraits,), {field: trait(field) for field in FIELDS}
)
