"""The demo's Hub. JupyterHub reads this file; its values come from the launcher, see `hub.HubSettings`."""

import json
import os
import sys
from pathlib import Path

from jupyter_rtc_amprenta.demo.directory import TEAM
from jupyter_rtc_amprenta.demo.hub import SETTINGS
from jupyter_rtc_amprenta.demo.processes import MARK
from jupyter_rtc_amprenta.demo.spawner import DemoSpawner
from jupyterhub_service import configure

c = get_config()  # noqa: F821 - JupyterHub provides it
demo = json.loads(Path(os.environ[SETTINGS]).read_text())
folder = Path(demo["folder"])
loopback = "http://127.0.0.1"

# Where it listens: on this machine only.
c.JupyterHub.bind_url = f"{loopback}:{demo['port']}"
c.JupyterHub.hub_bind_url = f"{loopback}:{demo['ports']['hub']}"
c.ConfigurableHTTPProxy.api_url = f"{loopback}:{demo['ports']['proxy_api']}"
c.ConfigurableHTTPProxy.auth_token = demo["proxy_token"]
c.ConfigurableHTTPProxy.command = demo["proxy_command"]
c.ConfigurableHTTPProxy.pid_file = str(folder / "proxy.pid")

# What it keeps.
c.JupyterHub.db_url = f"sqlite:///{folder / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(folder / "cookie_secret")

# Who may enter. Everybody has the same password, so nobody is an administrator.
c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = demo["password"]
c.Authenticator.allowed_users = set(demo["users"])
c.JupyterHub.load_groups = {"everybody": {"users": demo["users"]}}

# The users' servers.
c.JupyterHub.spawner_class = DemoSpawner
c.DemoSpawner.home_dir_template = demo["home_template"]
c.DemoSpawner.log_dir = demo["log_dir"]
c.Spawner.notebook_dir = demo["root_template"]
c.Spawner.default_url = "/lab"
c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
# There are no language servers; to look for them takes up to a second of each start.
c.Spawner.args = ["--LanguageServerManager.autodetect=False"]
if os.geteuid() == 0:
    c.Spawner.args += ["--allow-root"]
c.Spawner.start_timeout = 120
c.Spawner.http_timeout = 120

# What a demo's process is known by, and what may be tuned from the terminal. The rest of the terminal's variables,
# such as PG*, belong to other work.
PRIVATE = {"RTC_DATABASE_URL", "RTC_SIGNING_KEY", "RTC_API_URL", "RTC_HUB_URL", "RTC_YJS_IN_SERVICE"}
PRIVATE |= {"RTC_SHARED_VOLUMES", "RTC_ONE_SERVER_PER_HOME"}
mark = {MARK: os.environ[MARK]}
tuning = {
    name: value for name, value in os.environ.items() if name.startswith("RTC_") and name not in PRIVATE
}
c.Spawner.environment = {**mark, **tuning}

# The launcher mints the users' tokens.
c.JupyterHub.services = [{"name": "demo-launcher", "api_token": demo["launcher_token"], "display": False}]
c.JupyterHub.load_roles = [
    {"name": "demo-launcher", "services": ["demo-launcher"], "scopes": ["tokens", "read:users:name"]}
]

# What an operator adds to a Hub to have Amprenta RTC.
configure(
    c,
    database_url=demo["database_url"],
    service_url=f"{loopback}:{demo['ports']['service']}",
    yjs_host="127.0.0.1",
    yjs_port=demo["ports"]["yjs"],
    yjs_server_url=f"ws://127.0.0.1:{demo['ports']['yjs']}",
    hub_public_url=f"{loopback}:{demo['port']}",
    shared_volumes={TEAM: {"path": demo["team"], "groups": ["everybody"]}},
    environ=tuning,
    extra_environment=mark,
)
