"""What `docker compose up -d` would run, as processes: images, commands, variables and files as it would give them.

Names of the network become addresses of this machine: `postgres:5432` is a free port of the loopback interface here.
The rest of the names' owners (PostgreSQL, Redis, Caddy, the Hub's proxy) are those of this machine, in place of their
images.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg2
import requests
from psycopg2 import sql
from support.compose import copied, make_env, resolved
from support.images import Image
from support.running_demo import HubUsers

from jupyter_rtc_amprenta.demo.logs import tail
from jupyter_rtc_amprenta.demo.ports import any_free_port
from jupyter_rtc_amprenta.demo.postgres import EmbeddedPostgres
from jupyter_rtc_amprenta.demo.proxy import fetch_proxy, find_proxy

ADMIN = "operator"
# As .env.example says it of the profile `replicas`.
REPLICAS = {"REDIS_URL": "redis://redis:6379/0", "YJS_SERVER_URL": "ws://yjs-balancer:1234"}
_STOP_SECONDS = 30


class Containers(HubUsers):
    """The deployment, with the profiles `tls` and `replicas`. One Y.js server of three stays down.

    Attributes:
        env: what `.env` holds.
        services: what Compose makes of the file.
        processes: those that run, by their service.
        ready: as of a demo: users with their tokens and homes, and URLs.
    """

    STARTED = ("yjs-server", "yjs-server-2", "yjs-balancer", "proxy", "jupyterhub", "tls")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.deploy = copied(folder)
        self.postgres = EmbeddedPostgres(folder / "postgres", settings={"fsync": "off"})
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ready: dict[str, Any] = {"users": {}}
        self._ports: dict[tuple[str, str], int] = {}
        self.env = make_env(self.deploy, ADMIN, "localhost")
        self.volumes = folder / "volumes"

    def start(self) -> None:
        """Bring everything up, in the order of the file's `depends_on`."""
        self._start_postgres()
        settings = REPLICAS | {"POSTGRES_PORT": str(urlsplit(self.postgres.url()).port)}
        self.services = resolved(self.deploy, "tls", "replicas", **settings)["services"]
        with ThreadPoolExecutor() as threads:
            built = threads.map(self._build, ("yjs-server", "hub", "singleuser"))
            self.images = dict(zip(("yjs-server", "jupyterhub", "singleuser"), built, strict=True))
        self.images["migrate"] = self.images["yjs-server-2"] = self.images["yjs-server"]
        self._prepare_hub()
        done = self.run("migrate")
        assert done.returncode == 0, done.stderr
        for service in ("redis", *self.STARTED):
            self.launch(service)
        self._wait_for_hub()

    def stop(self) -> None:
        """Leaves nothing running."""
        running = [
            psutil.Process(process.pid) for process in self.processes.values() if process.poll() is None
        ]
        running += [child for process in running for child in process.children(recursive=True)]
        for process in running:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        for process in psutil.wait_procs(running, _STOP_SECONDS)[1]:
            process.kill()
        self.postgres.stop("immediate")

    def port(self, service: str, port: str | int) -> int:
        """Where a container's port is found here."""
        if (service, str(port)) not in self._ports:
            self._ports[service, str(port)] = any_free_port(avoid=self._ports.values())
        return self._ports[service, str(port)]

    def localised(self, text: str) -> str:
        """The same text, with the network's names and ports as they are here."""
        names = "|".join(sorted(self.services, key=len, reverse=True))
        # Not within an image's name, such as amprenta-singleuser:0.1.0.
        return re.sub(rf"(?<![\w.-])({names}):(\d+)\b", lambda m: f"127.0.0.1:{self.port(m[1], m[2])}", text)

    def variables(self, service: str) -> dict[str, str]:
        """The environment of a service's process: the image's and Compose's, and nothing else."""
        image = self.images.get(service)
        variables = self._mounted(service, image) if image else {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        for name, value in self.services[service].get("environment", {}).items():
            variables[name] = self.localised(value or "")
        if variables.get("PGHOST") == "postgres":
            variables["PGHOST"] = "127.0.0.1"
        if "YJS_SERVER_PORT" in variables:
            port = str(self.port(service, variables["YJS_SERVER_PORT"]))
            variables |= {"YJS_SERVER_PORT": port, "YJS_SERVER_HOST": "127.0.0.1"}
        return variables

    def _mounted(self, service: str, image: Image) -> dict[str, str]:
        """The image's variables, with the folders of the service's own volumes."""
        variables = image.variables()
        for volume in self.services[service].get("volumes", []):
            if volume["type"] == "volume":
                (here := self.volumes / volume["source"]).mkdir(parents=True, exist_ok=True)
                inside = str(image.path(volume["target"]))
                variables = {name: value.replace(inside, str(here)) for name, value in variables.items()}
        return variables

    def command(self, service: str) -> list[str]:
        """What is started: the image's entry point, and the command of Compose's or the image's."""
        image, told = self.images.get(service), self.services[service]
        entrypoint = told.get("entrypoint") or (image.entrypoint if image else [])
        command = [*entrypoint, *(told.get("command") or (image.cmd if image else []))]
        command = [self.localised(word) for word in command]
        return [image.rerooted(word) for word in command] if image else command

    def run(self, service: str, *command: str, **changed: str) -> subprocess.CompletedProcess[str]:
        """`docker compose run SERVICE [COMMAND]`."""
        image = self.images[service]
        words = [*image.entrypoint, *command] if command else self.command(service)
        return subprocess.run(
            [shutil.which(words[0], path=image.variables()["PATH"]) or words[0], *words[1:]],
            env=self.variables(service) | changed,
            cwd=image.path(image.workdir),
            capture_output=True,
            text=True,
            timeout=120,
        )

    def launch(self, service: str) -> None:
        """Start one service's process; what it says goes into a file."""
        command, environment, cwd = getattr(self, f"_{service.replace('-', '_')}", self._ours)(service)
        program = shutil.which(command[0], path=environment["PATH"])
        assert program, f"{command[0]} of {service} is not here"
        with open(self.log_file(service), "ab") as log:
            self.processes[service] = subprocess.Popen(
                [program, *command[1:]],
                env=environment,
                cwd=cwd,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log_file(self, service: str) -> Path:
        return self.folder / f"{service}.log"

    def server_environment(self, user: str) -> dict[str, str]:
        """What the process of a user's server really has."""
        for process in psutil.Process(self.processes["jupyterhub"].pid).children(recursive=True):
            with suppress(psutil.Error):
                environment = process.environ()
                if environment.get("JUPYTERHUB_USER") == user:
                    return environment
        raise AssertionError(f"{user} has no server")

    def healthy(self, service: str) -> subprocess.CompletedProcess[str]:
        """Run the health check of Compose's file."""
        kind, *words = self.services[service]["healthcheck"]["test"]
        command = words if kind == "CMD" else ["sh", "-c", words[0].replace("$$", "$")]
        environment = self.variables(service)
        # Inside, each container has its own localhost, and its programs their own ports.
        if command[0] == "redis-cli":
            command[1:1] = ["-p", str(self.port(service, 6379))]
        if service == "postgres":
            environment["PGHOST"] = "127.0.0.1"
        own = re.compile(r"(localhost|127\.0\.0\.1):(\d+)")
        command = [own.sub(lambda m: f"127.0.0.1:{self.port(service, m[2])}", word) for word in command]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)

    # What stands for the images that are not ours.

    def _ours(self, service: str) -> tuple[list[str], dict[str, str], Path]:
        image = self.images[service]
        return self.command(service), self.variables(service), image.path(image.workdir)

    def _redis(self, service: str) -> tuple[list[str], dict[str, str], Path]:
        more = ["--port", str(self.port("redis", 6379)), "--bind", "127.0.0.1"]
        return [*self.command(service), *more], self.variables(service), self.folder

    def _proxy(self, service: str) -> tuple[list[str], dict[str, str], Path]:
        program = find_proxy() or fetch_proxy(self.log_file(service))
        options = [option.replace("0.0.0.0", "127.0.0.1") for option in self.command(service)[1:]]
        for number in (8000, 8001):
            options = [
                option.replace(f"port={number}", f"port={self.port('proxy', number)}") for option in options
            ]
        return [*program, *options], self.variables(service), self.folder

    def _yjs_balancer(self, service: str) -> tuple[list[str], dict[str, str], Path]:
        return self._caddy(service, {})

    def _tls(self, service: str) -> tuple[list[str], dict[str, str], Path]:
        ports = {"HTTP_PORT": str(self.port(service, 80)), "HTTPS_PORT": str(self.port(service, 443))}
        proxy = {"HUB_UPSTREAM": f"127.0.0.1:{self.port('proxy', 8000)}"}
        self.services[service]["command"] = [
            "caddy",
            "run",
            "--config",
            "/etc/caddy/Caddyfile",
            "--adapter=caddyfile",
        ]
        return self._caddy(service, ports | proxy)

    def _caddy(self, service: str, more: dict[str, str]) -> tuple[list[str], dict[str, str], Path]:
        data = self.volumes / f"{service}-data"
        data.mkdir(parents=True)
        admin = f"localhost:{self.port(service, 2019)}"
        environment = (
            self.variables(service)
            | more
            | {"CADDY_ADMIN": admin, "HOME": str(data), "XDG_DATA_HOME": str(data)}
        )
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        command = [word.replace("/etc/caddy", str(self.deploy / "caddy")) for word in self.command(service)]
        return command, environment, data

    def _start_postgres(self) -> None:
        self.postgres.start()
        connection = psycopg2.connect(self.postgres.create_database("amprenta"))
        with connection, connection.cursor() as cursor:
            password = sql.Literal(self.env["POSTGRES_PASSWORD"])
            cursor.execute(sql.SQL("ALTER USER postgres PASSWORD {}").format(password))
        connection.close()
        port = urlsplit(self.postgres.url()).port
        self._ports[("postgres", str(port))] = port
        self.ready["database_url"] = (
            f"postgresql://postgres:{self.env['POSTGRES_PASSWORD']}@127.0.0.1:{port}/amprenta"
        )

    def _build(self, name: str) -> Image:
        return Image(self.deploy / name / "Dockerfile", self.folder / "images" / name)

    def _prepare_hub(self) -> None:
        """The files that Compose mounts, and one more in the folder that is the operator's."""
        hub = self.images["jupyterhub"]
        for volume in self.services["jupyterhub"]["volumes"]:
            source = Path(volume["source"])
            if volume["type"] == "bind" and source.is_relative_to(self.deploy):
                target = hub.path(volume["target"])
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        extra = hub.path("/etc/jupyterhub/jupyterhub_config.d")
        shutil.copy(Path(__file__).with_name("process_spawner.py"), extra / "99-processes.py")
        image = self.images["singleuser"]
        told = {
            "command": [str(image.venv / "bin" / image.command[0]), *image.command[1:]],
            "environment": image.variables(),
            "hub_url": f"http://127.0.0.1:{self.port('jupyterhub', 8081)}",
            "volumes": str(self.volumes),
        }
        (extra / "processes.json").write_text(json.dumps(told))

    def _wait_for_hub(self) -> None:
        self.ready["hub_url"] = url = f"http://127.0.0.1:{self.port('proxy', 8000)}"
        self.ready["service_url"] = f"{url}/services/rtc"
        deadline = time.monotonic() + 120
        while True:
            for service, process in self.processes.items():
                assert process.poll() is None, f"{service} ended:\n{tail(self.log_file(service))}"
            answers = [self._status(f"{url}/hub/health"), self._status(f"{url}/services/rtc/health")]
            if answers == [200, 200]:
                return
            assert time.monotonic() < deadline, f"{answers}\n{tail(self.log_file('jupyterhub'))}"
            time.sleep(0.1)

    @staticmethod
    def _status(url: str) -> int:
        try:
            return requests.get(url, timeout=5).status_code
        except requests.ConnectionError:
            return 0

    # People.

    def add_people(self, *names: str) -> None:
        """What the admin does at /hub/admin; then they log in, each with a password of their own."""
        self._log_in(ADMIN, self.env["JUPYTERHUB_ADMIN_PASSWORD"])
        added = self.request("POST", "users", ADMIN, json={"usernames": names})
        assert added.status_code == 201, added.text
        for name in names:
            self._log_in(name, secrets.token_hex(10))

    def log_in(self, name: str, password: str) -> requests.Session | None:
        """Log in as in a browser; None where the Hub refuses."""
        session = requests.Session()
        page = f"{self.ready['hub_url']}/hub/login"
        session.get(page, timeout=30)
        fields = {"username": name, "password": password, "_xsrf": _xsrf(session)}
        answer = session.post(page, data=fields, allow_redirects=False, timeout=30)
        return session if answer.status_code == 302 else None

    def _log_in(self, name: str, password: str) -> None:
        """Log in, and make a token for the tests."""
        session, hub = self.log_in(name, password), self.ready["hub_url"]
        assert session is not None, f"{name} can't log in: {tail(self.log_file('jupyterhub'))}"
        made = session.post(
            f"{hub}/hub/api/users/{name}/tokens",
            headers={"X-XSRFToken": _xsrf(session)},
            json={},
            timeout=30,
        )
        assert made.status_code == 201, made.text
        home = self.volumes / f"jupyterhub-user-{name}" / "work"
        self.ready["users"][name] = {
            "token": made.json()["token"],
            "home": str(home),
            "server_url": f"{hub}/user/{name}/",
        }


def _xsrf(session: requests.Session) -> str:
    return next(
        cookie.value for cookie in session.cookies if cookie.name == "_xsrf" and cookie.path == "/hub/"
    )
