"""docker-compose.yml, as docker-compose reads it: it protects people who start the two services with one command."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SECRETS = {
    "LABEL_STUDIO_USERNAME": "somebody@example.com",
    "LABEL_STUDIO_PASSWORD": "not-a-default",
    "LABEL_STUDIO_API_KEY": "0123456789abcdef0123456789abcdef01234567",
}


def config(tmp_path: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`docker-compose config` with an .env of these variables and nothing else that it could take them from."""
    env_file = tmp_path / "env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    command = ["docker-compose", "--env-file", str(env_file), "--file", str(ROOT / "docker-compose.yml"), "config"]
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}, timeout=60)


@pytest.fixture
def services(tmp_path: Path) -> dict:
    result = config(tmp_path, SECRETS)
    assert result.returncode == 0, result.stderr
    return yaml.safe_load(result.stdout)["services"]


@pytest.mark.parametrize("missing", SECRETS)
def test_no_secret_has_a_default(tmp_path: Path, missing: str) -> None:
    result = config(tmp_path, {name: value for name, value in SECRETS.items() if name != missing})
    assert result.returncode != 0 and "fill it in in .env" in result.stderr


def test_example_env_names_every_secret_and_gives_none() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert given == dict.fromkeys(SECRETS, "")


@pytest.mark.parametrize(("profile", "backend"), [("cpu", "backend-cpu"), ("gpu", "backend-gpu")])
def test_a_profile_is_label_studio_and_one_backend(services: dict, profile: str, backend: str) -> None:
    assert {name for name, service in services.items() if profile in service["profiles"]} == {"label-studio", backend}


def test_label_studio_may_reach_the_private_address_of_the_backend(services: dict) -> None:
    environment = services["label-studio"]["environment"]
    for name in ("ML_BLOCK_LOCAL_IP", "SSRF_PROTECTION_ENABLED", "USE_DEFAULT_BANNED_SUBNETS"):
        assert environment[name] == "false"


@pytest.mark.parametrize("backend", ["backend-cpu", "backend-gpu"])
def test_backend_knows_label_studio_and_keeps_its_ledger(services: dict, backend: str) -> None:
    service = services[backend]
    environment = service["environment"]
    assert environment["LABEL_STUDIO_URL"] == "http://label-studio:8080"
    token = services["label-studio"]["environment"]["LABEL_STUDIO_USER_TOKEN"]
    assert environment["LABEL_STUDIO_API_KEY"] == token == SECRETS["LABEL_STUDIO_API_KEY"]
    assert service["networks"]["default"]["aliases"] == ["backend"]
    assert service["volumes"] == ["backend:/data:rw"]


def test_only_the_gpu_backend_asks_for_a_gpu(services: dict) -> None:
    assert "deploy" not in services["backend-cpu"]
    (device,) = services["backend-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia" and services["backend-gpu"]["environment"]["PAM_STUDIO_DEVICE"] == "cuda"


def test_label_studio_listens_on_this_machine_only(services: dict) -> None:
    assert services["label-studio"]["ports"] == ["127.0.0.1:8080:8080/tcp"]
