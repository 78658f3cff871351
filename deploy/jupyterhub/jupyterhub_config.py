"""JupyterHub in containers: users' servers by DockerSpawner, and Amprenta RTC with its Y.js server apart.

The values come from docker-compose.yml and .env. What else a Hub needs (another authenticator, other limits) goes into
files in `jupyterhub_config.d/`: they are read here, in the order of their names, and change what stands above.
"""

import dbm
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import bcrypt

from jupyterhub_service import configure

c = get_config()  # noqa: F821 - JupyterHub provides it
service_url = os.environ.get("RTC_SERVICE_URL", "http://jupyterhub:10101")

# The Hub, as its proxy and the users' servers reach it.
c.JupyterHub.hub_bind_url = "http://0.0.0.0:8081"
c.JupyterHub.hub_connect_url = f"http://{urlsplit(service_url).hostname}:8081"

# The proxy is a container of its own; its token is in CONFIGPROXY_AUTH_TOKEN.
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = os.environ.get("CONFIGPROXY_API_URL", "http://proxy:8001")
# Users' servers go on while the Hub is restarted.
c.JupyterHub.cleanup_servers = False

# Who may enter: whom the admin adds at /hub/admin, each with the password that they choose when they first log in. The
# admin's own first one comes from .env, so that nobody else can take that name.
c.JupyterHub.authenticator_class = "firstuseauthenticator.FirstUseAuthenticator"
c.FirstUseAuthenticator.create_users = False
c.FirstUseAuthenticator.min_password_length = 10
c.Authenticator.admin_users = {os.environ["JUPYTERHUB_ADMIN"]}
c.Authenticator.allow_all = True  # everybody whom the admin has added
with dbm.open("passwords.dbm", "c", 0o600) as passwords:
    if (admin := os.environ["JUPYTERHUB_ADMIN"].encode()) not in passwords:
        passwords[admin] = bcrypt.hashpw(os.environ["JUPYTERHUB_ADMIN_PASSWORD"].encode(), bcrypt.gensalt())

# The users' servers.
c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
c.DockerSpawner.image = os.environ.get("SINGLEUSER_IMAGE", "amprenta-singleuser:0.1.0")
c.DockerSpawner.network_name = os.environ.get("DOCKER_NETWORK_NAME", "jupyterhub-network")
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.remove = True
c.DockerSpawner.mem_limit = "2G"
c.DockerSpawner.cpu_limit = 1
c.DockerSpawner.extra_host_config = {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
# The whole home: beside the files, documents are known by what Jupyter keeps in ~/.local and work/.jupyter.
c.DockerSpawner.volumes = {"jupyterhub-user-{username}": "/home/jovyan"}
c.DockerSpawner.notebook_dir = "/home/jovyan/work"
c.Spawner.default_url = "/lab"

# All that users' servers are told: no database, and no key.
c.DockerSpawner.environment = {
    "API_URL": os.environ.get("API_URL", "http://host.docker.internal:8000"),
    "JUPYTERHUB_SINGLEUSER_APP": "jupyter_server.serverapp.ServerApp",
    # Y.js WebSocket server URL for real-time collaborative editing
    "JUPYTER_COLLABORATION_YJS_URL": os.environ.get("YJS_SERVER_URL", "ws://yjs-server:1234"),
}
if urlsplit(c.DockerSpawner.environment["API_URL"]).hostname == "host.docker.internal":
    # Docker on Linux knows this name only if it is told.
    c.DockerSpawner.extra_host_config["extra_hosts"] = {"host.docker.internal": "host-gateway"}

for extra in sorted((Path(__file__).parent / "jupyterhub_config.d").glob("*.py")):
    exec(compile(extra.read_text(), extra, "exec"))

# What makes it collaborative, last: it adds to what is set. The database and the keys come from the environment.
configure(
    c,
    service_url=service_url,
    yjs_in_service=False,
    # Any address of this container: it is in two networks.
    command=[sys.executable, "-m", "jupyterhub_service", "--ip=0.0.0.0"],
)
