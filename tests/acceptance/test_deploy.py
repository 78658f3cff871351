"""`deploy/jupyterhub` at work, without a container engine.

Shown here: what the images' RUN lines install goes together and is all that their processes need (each has an empty
environment of its own); the extensions are enabled by what an image holds; the variables that Compose itself makes of
docker-compose.yml and a `.env` of `./make-env` make these processes find each other; two people, whom the admin has
added, edit one notebook through the balancer and two Y.js servers; TLS; users' servers hold no secret.

Not shown: base images and Debian's packages (that they exist is all that is looked at), accounts and capabilities,
networks and volumes, and Docker's answers to DockerSpawner. The Python is that of the tests; PostgreSQL, Redis, Node
and Caddy are those of this machine.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import psycopg2
import pytest
import requests
from support.compose import make_env, run_compose
from support.containers import ADMIN, Containers
from support.people import sources
from support.shared_notebook import NOTEBOOK, Shared, both_show, type_at_once
from support.yjs_client import until
from support.yjs_processes import Redis
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance, pytest.mark.timeout(600)]

PEOPLE = ("alice", "bob")
REPLICAS = ("yjs-server", "yjs-server-2")


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """All of it runs, alice and bob have their servers, and alice has a notebook."""
    if not Redis.is_there():
        pytest.skip("LOUD: no redis-server here (apt-get install redis-server); .ci/run installs it")
    containers = Containers(tmp_path_factory.mktemp("deploy"))
    try:
        containers.start()
        containers.add_people(*PEOPLE)
        _give_notebook(Path(containers.ready["users"]["alice"]["home"]))
        with ThreadPoolExecutor() as threads:
            list(threads.map(containers.start_server, PEOPLE))
        yield containers
    finally:
        containers.stop()


def _give_notebook(work: Path) -> None:
    work.mkdir(parents=True)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"n = {n}") for n in range(5)])
    nbformat.write(notebook, work / NOTEBOOK)


@pytest.fixture(scope="module")
def shared(containers: Containers) -> Shared:
    return Shared(containers)


def connections(containers: Containers, service: str) -> int:
    """How many clients a Y.js server has."""
    text = requests.get(f"http://127.0.0.1:{containers.port(service, 1234)}/metrics", timeout=10).text
    (line,) = (line for line in text.splitlines() if line.startswith("rtc_websocket_connections "))
    return int(float(line.split()[1]))


async def test_two_people_edit_one_notebook_through_two_replicas(containers, shared):
    at_alice, at_bob = await shared.open()
    await type_at_once(at_alice, at_bob, 20, "1")
    expected = await both_show(at_alice, at_bob, 20, "1")
    await shared.saved()
    await until(lambda: shared.assert_files(expected), "both files")
    assert all(connections(containers, service) for service in REPLICAS), "each has one of the two"
    await at_alice.close()
    await at_bob.close()


async def test_what_is_stored_is_encrypted_and_the_image_s_own_command_reads_it(containers, shared):
    connection = psycopg2.connect(containers.ready["database_url"])
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*), count(key_id) FROM yjs_updates")
        rows, encrypted = cursor.fetchone()
    connection.close()
    assert rows == encrypted > 0
    exported = await asyncio.to_thread(
        containers.run, "yjs-server", "jupyter-rtc", "export", shared.document_id
    )
    assert exported.returncode == 0, exported.stderr
    assert sources(json.loads(exported.stdout)) == sources(shared.alice.file(NOTEBOOK))


async def test_when_a_replica_dies_its_people_come_back_through_the_other(containers, shared):
    at_alice, at_bob = await shared.open()
    containers.processes["yjs-server-2"].kill()
    containers.processes["yjs-server-2"].wait()
    await type_at_once(at_alice, at_bob, 10, "2")
    await both_show(at_alice, at_bob, 10, "2")
    await shared.saved()
    containers.launch("yjs-server-2")
    await at_alice.close()
    await at_bob.close()


@pytest.mark.parametrize("user", PEOPLE)
def test_a_user_s_server_is_told_two_urls_and_no_secret(containers, user):
    environment = containers.server_environment(user)
    balancer = f"ws://127.0.0.1:{containers.port('yjs-balancer', 1234)}"
    assert environment["JUPYTER_COLLABORATION_YJS_URL"] == balancer
    assert environment["RTC_API_URL"] == f"http://127.0.0.1:{containers.port('jupyterhub', 10101)}"
    secret = ("PG", "POSTGRES_", "REDIS", "CONFIGPROXY", "RTC_DATABASE", "RTC_ENCRYPTION", "RTC_SIGNING")
    assert [name for name in environment if name.startswith(secret)] == []
    secrets = [
        containers.env[name]
        for name in ("POSTGRES_PASSWORD", "RTC_ENCRYPTION_KEYS", "CONFIGPROXY_AUTH_TOKEN")
    ]
    assert all(len(value) > 40 for value in secrets)
    assert not [name for name, value in environment.items() if any(one in value for one in secrets)]


@pytest.mark.parametrize(
    "service", ["postgres", "redis", *REPLICAS, "yjs-balancer", "proxy", "jupyterhub", "tls"]
)
async def test_the_health_checks_of_the_file_say_that_all_is_well(containers, service):
    program = containers.services[service]["healthcheck"]["test"][1].split()[0]
    if shutil.which(program) is None:
        pytest.skip(f"LOUD: {program}, which checks {service}, is not here")

    def answer() -> bool:
        done = containers.healthy(service)
        assert "not found" not in done.stderr, done.stderr
        return done.returncode == 0

    await until(answer, f"{service} is healthy", timeout=30, every=0.3)


async def test_a_health_check_fails_when_its_service_is_away(containers):
    assert containers.healthy("yjs-server").returncode == 0
    containers.processes["yjs-server"].kill()
    containers.processes["yjs-server"].wait()
    assert containers.healthy("yjs-server").returncode != 0
    containers.launch("yjs-server")
    await until(lambda: containers.healthy("yjs-server").returncode == 0, "back", timeout=30, every=0.3)


async def test_over_tls_pages_and_websockets_reach_the_hub_and_the_servers(containers, shared):
    authority = next(iter((containers.volumes / "tls-data").rglob("authorities/local/root.crt")))
    port = containers.port("tls", 443)
    page = await asyncio.to_thread(
        requests.get, f"https://localhost:{port}/hub/login", verify=str(authority), timeout=30
    )
    assert page.status_code == 200
    token = containers.ready["users"]["alice"]["token"]
    url = f"wss://localhost:{port}/user/alice/api/events/subscribe"
    request = HTTPRequest(
        url,
        headers={"Authorization": f"Bearer {token}"},
        ssl_options=ssl.create_default_context(cafile=str(authority)),
    )
    socket = await asyncio.wait_for(websocket_connect(request), 30)
    socket.close()


def test_the_single_user_image_enables_both_extensions(containers):
    done = containers.run("singleuser")
    lines = [line.split() for line in (done.stdout + done.stderr).splitlines()]
    for extension in ("jupyter_rtc_amprenta", "jupyter_server_ydoc"):
        about = [line for line in lines if line and line[0] == extension]
        assert any("enabled" in line[1] for line in about), done.stderr
        assert any("OK" in line[-1] for line in about), done.stderr


def test_the_programs_of_the_troubleshooting_chapter_are_in_the_images(containers):
    hub, yjs = containers.images["jupyterhub"], containers.images["yjs-server"]
    assert {"iputils-ping", "netcat-openbsd"} <= set(hub.debian_packages)
    assert {"postgresql-client", "curl"} <= set(yjs.debian_packages)
    assert "YJS" in hub.path("/etc/jupyterhub/jupyterhub_config.py").read_text()


def test_the_images_packages_exist_in_debian(containers):
    packages = sorted({name for image in containers.images.values() for name in image.debian_packages})
    if shutil.which("apt-cache") is None:
        pytest.skip("LOUD: not Debian, so nobody knows its packages here")
    shown = subprocess.run(
        ["apt-cache", "policy", *packages], capture_output=True, text=True, check=True
    ).stdout
    if "Candidate" not in shown:
        pytest.skip("LOUD: no list of Debian's packages here (apt-get update)")
    assert [name for name in packages if f"{name}:\n" not in shown] == []
    assert "Candidate: (none)" not in shown


def test_what_docker_is_asked_for_a_user_s_container(containers):
    """DockerSpawner made it of the Hub's configuration, and Docker's own client understood it."""
    asked = json.loads((containers.volumes / "jupyterhub-user-alice.json").read_text())
    assert asked["image"] == containers.services["singleuser"]["image"]
    assert asked["name"] == "jupyter-alice"
    assert asked["environment"]["JUPYTERHUB_SINGLEUSER_APP"] == "jupyter_server.serverapp.ServerApp"
    assert asked["environment"]["API_URL"] == "http://host.docker.internal:8000"
    host = asked["host_config"]
    assert host["Binds"] == ["jupyterhub-user-alice:/home/jovyan:rw"]
    assert host["CapDrop"] == ["ALL"]
    assert host["ExtraHosts"] == ["host.docker.internal:host-gateway"]
    assert host["Memory"] == 2 * 2**30
    assert host["NetworkMode"] == "jupyterhub-network"
    assert host["SecurityOpt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", ["yjs-server", "jupyterhub", "singleuser"])
def test_the_image_s_own_python_takes_these_versions(containers, name, tmp_path):
    """What was installed here was installed for the tests' Python: for the image's, each must have a wheel."""
    done = containers.images[name].choose_for_its_python(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Would install" in done.stderr


def test_no_image_runs_as_root(containers):
    assert {image.user for image in containers.images.values()} == {"1000"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"PGPASSWORD": ""}, "PGPASSWORD (POSTGRES_PASSWORD in .env) is not set"),
        ({"PGPASSWORD": "postgres"}, "anybody would try"),
        ({"PGPASSWORD": "Amprenta-2026-production"}, "anybody would try"),
        ({"PGPASSWORD": "b8e1"}, "shorter than 16"),
        ({"RTC_ENCRYPTION_KEYS": ""}, "RTC_ENCRYPTION_KEYS is not set"),
    ],
    ids=["none", "default", "guessable", "short", "no key"],
)
def test_a_secret_that_anybody_knows_is_refused(containers, changed, said):
    for service in ("yjs-server", "migrate"):
        refused = containers.run(service, **changed)
        assert refused.returncode == 78
        assert said in refused.stderr
        assert "openssl rand" in refused.stderr


def test_without_secrets_nothing_starts_and_it_says_how_to_make_them(containers, tmp_path):
    folder = tmp_path / "deploy" / "jupyterhub"
    shutil.copytree(containers.deploy, folder)
    secrets = (
        "POSTGRES_PASSWORD",
        "RTC_ENCRYPTION_KEYS",
        "CONFIGPROXY_AUTH_TOKEN",
        "DOCKER_GID",
        "JUPYTERHUB_ADMIN",
        "JUPYTERHUB_ADMIN_PASSWORD",
    )
    for name in secrets:
        (folder / ".env").unlink(missing_ok=True)
        make_env(folder, ADMIN)
        lines = (folder / ".env").read_text().splitlines()
        emptied = [f"{name}=" if line.startswith(f"{name}=") else line for line in lines]
        assert emptied != lines
        (folder / ".env").write_text("\n".join(emptied))
        refused = run_compose(folder, "config", "--quiet")
        assert refused.returncode != 0
        assert f"{name} is missing" in refused.stderr
        assert "make-env" in refused.stderr


def test_nobody_takes_the_admin_s_name_or_enters_unasked(containers):
    assert containers.log_in(ADMIN, "a-password-of-mine") is None
    assert containers.log_in("mallory", "a-password-of-mine") is None


async def test_the_hub_s_admin_sees_everybody_s_sessions_and_nobody_else_does(containers, shared):
    for room in await shared.open():
        await room.close()
    page = f"{containers.ready['hub_url']}/services/rtc/admin"
    browser = containers.log_in(ADMIN, containers.env["JUPYTERHUB_ADMIN_PASSWORD"])
    shown = browser.get(page, timeout=30)
    assert shown.status_code == 200
    assert "alice" in shown.text and f"admin/sessions/{shared.document_id}" in shown.text
    assert containers.request("GET", page, "alice").status_code == 403
