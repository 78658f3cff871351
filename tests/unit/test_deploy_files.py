"""The files under `deploy/`, held against the schemas and linters of what reads them, and against each other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from jupyterhub.app import JupyterHub
from support.compose import FOLDER, copied, make_env, resolved
from support.images import instructions
from traitlets.config import Config

from jupyter_rtc_amprenta.core.crypto import EncryptionKeys
from jupyter_rtc_amprenta.core.settings import VARIABLES

DEPLOY = FOLDER.parent
KUBERNETES = DEPLOY / "kubernetes"
DOCKERFILES = sorted(DEPLOY.rglob("Dockerfile"))
PROFILES = ("tls", "replicas")
JOBS = {"migrate", "singleuser"}
OURS = {"app.kubernetes.io/name": "amprenta-rtc", "app.kubernetes.io/component": "yjs-server"}


def program(name: str) -> str:
    """A program that came with the test requirements."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or name


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_env(copied(tmp_path_factory.mktemp("env")), "operator")


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Compose makes of the file, with all profiles and nothing but what `./make-env` writes."""
    folder = copied(tmp_path_factory.mktemp("compose"))
    make_env(folder, "operator")
    return resolved(folder, *PROFILES)


# Docker Compose


def test_the_compose_file_is_one_by_its_specification() -> None:
    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    file = yaml.safe_load((FOLDER / "docker-compose.yml").read_text())
    jsonschema.validate(file, json.loads(schema.read_text()))


def test_the_y_js_server_has_the_names_and_the_environment_that_are_documented(compose) -> None:
    server = compose["services"]["yjs-server"]
    assert server["container_name"] == "amprenta-yjs-server"
    assert compose["services"]["jupyterhub"]["container_name"] == "amprenta-jupyterhub"
    assert compose["networks"]["jupyterhub-network"]["name"] == "jupyterhub-network"
    expected = {
        "PGHOST": "postgres",
        "PGPORT": "5432",
        "PGDATABASE": "amprenta",
        "PGUSER": "postgres",
        "YJS_SERVER_PORT": "1234",
        "YJS_SERVER_HOST": "0.0.0.0",
    }
    assert expected.items() <= server["environment"].items()


def test_what_is_published_is_published_on_loopback_but_for_tls(compose) -> None:
    published = {
        (name, port["published"]): port.get("host_ip")
        for name, service in compose["services"].items()
        for port in service.get("ports", [])
    }
    assert published == {
        ("yjs-server", "1234"): "127.0.0.1",
        ("proxy", "8000"): "127.0.0.1",
        ("tls", "80"): None,
        ("tls", "443"): None,
    }


def test_every_service_is_watched_and_started_again(compose) -> None:
    for name, service in compose["services"].items():
        if name in JOBS:
            assert service["restart"] == "no", name
        else:
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name


def test_nobody_is_root_or_may_become_it(compose) -> None:
    ours = {"amprenta-yjs-server", "amprenta-jupyterhub", "amprenta-singleuser", "amprenta-caddy"}
    for name, service in compose["services"].items():
        image = service["image"].partition(":")[0]
        assert image in ours or service["user"].partition(":")[0] not in ("", "0", "root"), name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name


def test_what_is_kept_is_in_named_volumes_and_each_is_one_service_s(compose) -> None:
    mounted = [
        volume["source"]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
        if volume["type"] == "volume"
    ]
    assert sorted(mounted) == sorted(compose["volumes"])


def test_the_database_is_out_of_reach_of_users_servers(compose) -> None:
    assert compose["networks"]["database"]["internal"] is True
    for name in ("postgres", "redis"):
        assert list(compose["services"][name]["networks"]) == ["database"]
    config = (FOLDER / "jupyterhub_config.py").read_text()
    assert '"jupyterhub-network"' in re.search(r"DockerSpawner.network_name = (.*)", config)[1]


def test_only_the_hub_reaches_docker(compose) -> None:
    reach = [
        name
        for name, service in compose["services"].items()
        if any("docker.sock" in volume["source"] for volume in service.get("volumes", []))
    ]
    assert reach == ["jupyterhub"]


def test_the_schema_comes_before_whoever_needs_it(compose) -> None:
    for name in ("yjs-server", "yjs-server-2", "yjs-server-3", "jupyterhub"):
        needed = compose["services"][name]["depends_on"]
        assert needed["migrate"]["condition"] == "service_completed_successfully", name
    assert compose["services"]["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_by_default_there_is_one_y_js_server_and_no_balancer(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    make_env(folder, "operator")
    assert set(resolved(folder)["services"]) == {
        "postgres", "migrate", "yjs-server", "jupyterhub", "proxy", "singleuser",
    }  # fmt: skip


def test_make_env_makes_secrets_once(tmp_path: Path) -> None:
    one, two = copied(tmp_path / "one"), copied(tmp_path / "two")
    first, second = make_env(one, "operator"), make_env(two, "operator", "hub.example.org")
    secret = (
        "POSTGRES_PASSWORD",
        "RTC_ENCRYPTION_KEYS",
        "CONFIGPROXY_AUTH_TOKEN",
        "JUPYTERHUB_ADMIN_PASSWORD",
    )
    assert all(len(first[name]) >= 32 and first[name] != second[name] for name in secret)
    assert EncryptionKeys.parse(first["RTC_ENCRYPTION_KEYS"])
    assert (one / ".env").stat().st_mode & 0o077 == 0
    assert second["RTC_HUB_URL"] == "https://hub.example.org"
    assert (second["COMPOSE_PROFILES"], second["HUB_DOMAIN"]) == ("tls", "hub.example.org")
    again = subprocess.run(["./make-env", "operator"], cwd=one, capture_output=True, text=True)
    assert again.returncode == 1
    assert "there already" in again.stderr
    assert (
        dict(line.split("=", 1) for line in (one / ".env").read_text().splitlines() if line[:1].isupper())
        == first
    )


def test_each_variable_of_the_example_is_one_that_something_reads() -> None:
    example = set(re.findall(r"^#?([A-Z_]+)=", (FOLDER / ".env.example").read_text(), re.MULTILINE))
    file = (FOLDER / "docker-compose.yml").read_text()
    assert {name for name in example if f"${{{name}:" not in file} == {"COMPOSE_PROFILES"}
    asked = set(re.findall(r"\$\{([A-Z_]+)", file))
    assert asked <= example


def test_a_port_of_one_s_own_reaches_everybody(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    make_env(folder, "operator")
    services = resolved(folder, YJS_SERVER_PORT="4321")["services"]
    server = services["yjs-server"]
    assert (server["ports"][0]["published"], server["ports"][0]["target"]) == ("4321", 4321)
    assert server["environment"]["YJS_SERVER_PORT"] == "4321"
    assert services["jupyterhub"]["environment"]["YJS_SERVER_URL"] == "ws://yjs-server:4321"


def test_more_variables_reach_whoever_reads_them(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    make_env(folder, "operator")
    (folder / "rtc.env").write_text("RTC_DATABASE_URL=postgresql://elsewhere/rtc\n")
    services = resolved(folder, *PROFILES)["services"]
    told = {
        name for name, service in services.items() if "RTC_DATABASE_URL" in (service.get("environment") or {})
    }
    assert told == {"migrate", "jupyterhub", "yjs-server", "yjs-server-2", "yjs-server-3"}


def test_make_env_refuses_names_that_no_user_or_host_has(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    for wrong in (["al|ice"], ["operator", "https://hub.example.org"], []):
        done = subprocess.run(["./make-env", *wrong], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.startswith("make-env: ")
        assert not (folder / ".env").exists()


# Images


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=[one.parent.name for one in DOCKERFILES])
def test_dockerfiles_pass_the_linter(dockerfile: Path) -> None:
    done = subprocess.run(
        [program("hadolint"), "--no-color", str(dockerfile)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=[one.parent.name for one in DOCKERFILES])
def test_images_are_pinned_and_end_as_an_ordinary_user(dockerfile: Path) -> None:
    lines = instructions(dockerfile)
    (base,) = (text for name, text in lines if name == "FROM")
    assert re.search(r":\d+\.\d+\.\d+", base), base
    assert [text for name, text in lines if name == "USER"][-1] == "1000"


def test_what_is_not_built_is_pulled_and_nothing_of_ours_is(compose) -> None:
    """Compose pulls, before it builds anything, the image of a service that has no `build`."""
    for name, service in compose["services"].items():
        assert ("build" in service) == service["image"].startswith("amprenta-"), name


def test_compose_s_images_are_pinned(compose) -> None:
    for name, service in compose["services"].items():
        assert re.search(r":\d+\.\d+", service["image"]), name


def test_the_images_versions_are_those_that_the_project_asks_for() -> None:
    """Every requirement that an image installs is pinned, jupyterhub in the Dockerfiles and the rest in one file."""
    pinned = {line.partition("==")[0] for line in (FOLDER / "constraints.txt").read_text().splitlines()}
    asked = {
        line.strip().partition("<")[0]
        for line in (FOLDER / "constraints.in").read_text().splitlines()
        if line[:1].isalpha() and "==" not in line
    }
    assert asked <= pinned
    versions = {
        text
        for one in DOCKERFILES
        for name, text in instructions(one)
        if text.startswith("JUPYTERHUB_VERSION")
    }
    assert versions == {"JUPYTERHUB_VERSION=6.1.1"}
    assert "jupyterhub==6.1.1" in (FOLDER / "constraints.in").read_text()


@pytest.mark.parametrize("name", ["Caddyfile", "balancer.Caddyfile"])
def test_caddy_understands_its_files(name: str, tmp_path: Path) -> None:
    file = FOLDER / "caddy" / name
    done = subprocess.run(
        [program("caddy"), "validate", "--adapter=caddyfile", f"--config={file}"],
        env={"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


# Kubernetes


def documents(*names: str) -> Iterator[dict[str, Any]]:
    for name in names or ("migrate.yaml", "redis.yaml", "secret.template.yaml", "yjs-server.yaml"):
        yield from yaml.safe_load_all((KUBERNETES / name).read_text())


def manifest(kind: str) -> dict[str, Any]:
    (found,) = (one for one in documents("yjs-server.yaml") if one["kind"] == kind)
    return found


def container(kind: str = "Deployment") -> dict[str, Any]:
    found = manifest(kind) if kind != "Job" else next(documents("migrate.yaml"))
    return found["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("version", ["1.32", "1.37"])
def test_manifests_are_by_kubernetes_schemas(version: str) -> None:
    for one in documents():
        kubernetes_validate.validate(one, version, strict=True)


def test_kustomize_takes_in_every_manifest_but_the_secret() -> None:
    told = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    others = {"kustomization.yaml", "secret.template.yaml", "values.yaml"}
    assert set(told["resources"]) == {file.name for file in KUBERNETES.glob("*.yaml")} - others
    ours = {one["image"] for one in (container(), container("Job"))}
    assert ours == {told["images"][0]["name"]} == {"amprenta-yjs-server"}


def test_what_belongs_to_the_y_js_server_finds_it() -> None:
    pod = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert pod == OURS
    assert manifest("Service")["spec"]["selector"] == OURS
    for kind in ("PodDisruptionBudget", "Deployment"):
        assert manifest(kind)["spec"]["selector"]["matchLabels"] == OURS
    assert manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == OURS
    target = manifest("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", manifest("Deployment")["metadata"]["name"])
    assert "replicas" not in manifest("Deployment")["spec"], "they are the autoscaler's"


def test_the_probes_ask_the_server_s_own_port_for_what_it_serves() -> None:
    server = container()
    ports = {port["name"] for port in server["ports"]}
    asked = {name: server[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {one["port"] for one in asked.values()} <= ports
    # The database's absence must neither restart a server, whose edits wait in memory, nor hide it.
    assert {name: one["path"] for name, one in asked.items()} == {
        "startupProbe": "/ready",
        "readinessProbe": "/live",
        "livenessProbe": "/live",
    }


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_pods_are_confined(kind: str) -> None:
    found = manifest(kind) if kind != "Job" else next(documents("migrate.yaml"))
    pod = found["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    confined = pod["containers"][0]["securityContext"]
    assert confined["readOnlyRootFilesystem"] is True
    assert confined["allowPrivilegeEscalation"] is False
    assert confined["capabilities"] == {"drop": ["ALL"]}
    assert "command" not in pod["containers"][0], (
        "it would take the place of the entry point, which looks at secrets"
    )


def test_a_secret_that_was_not_filled_in_is_refused() -> None:
    (secret,) = documents("secret.template.yaml")
    known = {variable.name for variable in VARIABLES} | {
        "PGHOST",
        "PGPORT",
        "PGDATABASE",
        "PGUSER",
        "PGPASSWORD",
    }
    assert set(secret["stringData"]) - known == {"PGSSLMODE"}
    entrypoint = FOLDER / "yjs-server" / "entrypoint.sh"
    refused = subprocess.run(
        ["sh", str(entrypoint), "true"], env=secret["stringData"], capture_output=True, text=True
    )
    assert refused.returncode == 78
    assert "PGPASSWORD" in refused.stderr


def values() -> dict[str, Any]:
    return yaml.safe_load((KUBERNETES / "values.yaml").read_text())


def test_the_chart_s_hub_gets_the_service_by_its_extra_config() -> None:
    hub = values()["hub"]
    c = Config()
    # As the chart's own configuration leaves them.
    c.JupyterHub.services = []
    c.JupyterHub.load_roles = []
    environment = {name: value for name, value in hub["extraEnv"].items() if isinstance(value, str)}
    taken = {name: "x" for name, value in hub["extraEnv"].items() if isinstance(value, dict)} | {
        "PGPORT": "5432"
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (environment | taken).items():
            patch.setenv(name, value)
        (config,) = hub["extraConfig"].values()
        exec(config, {"c": c})
    app = JupyterHub(config=c)
    (service,) = app.services
    assert service["url"] == f"http://hub:{hub['service']['extraPorts'][0]['port']}"
    assert service["environment"]["RTC_YJS_IN_SERVICE"] == "false"
    assert {"PGHOST", "PGPASSWORD", "PGSSLMODE", "RTC_ENCRYPTION_KEYS"} <= set(service["environment"])
    told = c.Spawner.environment.to_dict()["update"]
    assert told["JUPYTER_COLLABORATION_YJS_URL"] == f"ws://{manifest('Service')['metadata']['name']}:1234"
    assert told["RTC_API_URL"] == service["url"]
    assert not [name for name in told if name in taken]


def test_the_chart_s_secrets_are_in_the_template() -> None:
    (secret,) = documents("secret.template.yaml")
    taken = [
        value["valueFrom"]["secretKeyRef"]
        for value in values()["hub"]["extraEnv"].values()
        if "valueFrom" in value
    ]
    assert {one["name"] for one in taken} == {secret["metadata"]["name"]}
    assert {one["key"] for one in taken} == set(secret["stringData"])


def test_users_servers_reach_the_y_js_server_and_the_service() -> None:
    """The chart closes users' servers off from what is inside the cluster."""
    open_to = [(rule["ports"][0]["port"], rule["to"][0]["podSelector"]["matchLabels"])
               for rule in values()["singleuser"]["networkPolicy"]["egress"]]  # fmt: skip
    assert open_to == [(1234, OURS), (10101, {"app": "jupyterhub", "component": "hub"})]
    admitted = [rule["ports"][0]["port"] for rule in values()["hub"]["networkPolicy"]["ingress"]]
    assert 10101 in admitted
    ingress = manifest("NetworkPolicy")["spec"]["ingress"][0]["from"]
    assert {"app": "jupyterhub", "component": "singleuser-server"} in [
        one["podSelector"]["matchLabels"] for one in ingress if "podSelector" in one
    ]


# Prometheus


def test_each_alert_is_raised_by_its_own_fault() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("LOUD: no promtool here (apt-get install prometheus); .ci/run installs it")
    tests = Path(__file__).with_name("amprenta-rtc.rules.test.yml")
    done = subprocess.run([promtool, "test", "rules", str(tests)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rules = yaml.safe_load((DEPLOY / "prometheus" / "amprenta-rtc.rules.yml").read_text())
    names = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    assert [name for name in names if name not in tests.read_text()] == []
