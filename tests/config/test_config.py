"""What users copy: each file parses, and names only what there is."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from bearerd.admin.metrics import Metrics
from bearerd.admin.server import PATHS
from bearerd.cli import COMMANDS
from bearerd.errors import ConfigurationError
from bearerd.events import RefreshFailed, RequestFinished
from bearerd.relay import target
from bearerd.settings import Folders, Settings, list_settings, load_settings
from bearerd.settings.profile import ProfileFields

FOLDER = Path(__file__).parents[2] / "config"
FILES = sorted(FOLDER.iterdir())
NAMES = set(Settings.model_fields)


@pytest.fixture
def defaults(tmp_path: Path) -> Settings:
    """The settings of somebody who has set nothing."""
    folders = Folders(config=tmp_path, data=tmp_path)
    return load_settings(None, {}, folders=folders)


def uncommented(text: str) -> str:
    """Return bearerd.toml with every setting in force."""
    setting = re.compile(r"^# (?=\[|[a-z_]+ = )", re.MULTILINE)
    return setting.sub("", text)


def documents(name: str) -> list[Any]:
    """Return the documents of a YAML file."""
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_says_what_it_is_what_to_edit_and_how_to_check(path: Path) -> None:
    """In its first three lines, so that nobody has to look elsewhere."""
    lines = path.read_text().splitlines()
    starts = ("# What it is:  ", "# What to edit: ", "# How to check: ")
    for line, start in zip(lines, starts, strict=False):
        assert line.startswith(start)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_names_only_what_there_is(path: Path, defaults: Settings) -> None:
    """Settings by their variables, ports by their defaults, commands by their names."""
    text = path.read_text()
    variables = set(re.findall(r"BEARERD_[A-Z_]+", text)) - {"BEARERD_CONFIG"}
    assert {name.removeprefix("BEARERD_").lower() for name in variables} <= NAMES
    ports = set(
        re.findall(r"(?:127\.0\.0\.1|0\.0\.0\.0|Port:|port: \")\D?(\d{4})", text)
    )
    known = {str(address.port) for address in defaults.listen + defaults.admin_listen}
    assert ports <= known
    assert set(re.findall(r"`?\bbearerd ([a-z]+)\b[^\n]*`", text)) <= set(COMMANDS)


def test_the_settings_file_has_every_setting_commented_out(tmp_path: Path) -> None:
    """As it stands it changes nothing; uncommented, it is read."""
    text = (FOLDER / "bearerd.toml").read_text()
    assert tomllib.loads(text) == {}
    document = tomllib.loads(uncommented(text))
    assert set(document) == NAMES
    for name in set(document["profiles"]["work"]):
        assert name in ProfileFields.model_fields
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    (tmp_path / "key").write_text("9f2c7a5be4d84e1fa3306b72")
    examples = {
        "/etc/ssl/certs/company.pem": str(tmp_path / "ca.pem"),
        "/run/secrets/client_key": str(tmp_path / "key"),
        'client_key = "KEY"\n': "\n",  # one of the two ways
    }
    usable = uncommented(text)
    for example, real in examples.items():
        assert example in usable
        usable = usable.replace(example, real)
    copied = tmp_path / "bearerd.toml"
    copied.write_text(usable)
    folders = Folders(config=tmp_path, data=tmp_path)
    settings = load_settings(None, {}, config=copied, folders=folders)
    assert settings.profile("work").refresh_window_seconds == 600


def test_the_settings_file_says_default_and_unit(defaults: Settings) -> None:
    """The words above a setting are those of its help; its value is the default."""
    text = (FOLDER / "bearerd.toml").read_text()
    document = tomllib.loads(uncommented(text))
    prose = " ".join(line.removeprefix("# ") for line in text.splitlines())
    for info in list_settings():
        assert f"Default: {info.default_with_unit}." in prose, info.name
        if info.name != "profiles":
            assert info.help in prose, info.name
        value = document[info.name]
        if isinstance(value, int | bool) or str(value) == info.default:
            assert value == getattr(defaults, info.name) or value == info.default


def test_the_settings_file_tells_what_a_profile_may_have() -> None:
    """All of it, in the words before its table."""
    text = (FOLDER / "bearerd.toml").read_text()
    told = text.partition("A profile may differ in ")[2].partition(";")[0]
    names = set(re.findall(r"[a-z_]{5,}", told.replace("#", "")))
    assert names == set(ProfileFields.model_fields)


def test_the_unit_runs_the_daemon_and_waits_for_it(defaults: Settings) -> None:
    """Sections as systemd has them; patience longer than the drain."""
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((FOLDER / "bearerd.service").read_text())
    assert unit.sections() == ["Unit", "Service", "Install"]
    service = unit["Service"]
    assert service["ExecStart"].split()[1:] == ["serve"]
    assert float(service["TimeoutStopSec"]) > defaults.drain_seconds
    assert service["RestartPreventExitStatus"] == "2"
    assert service["Environment"].startswith("BEARERD_STORE=%S/bearerd/")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """With a program in the place of the real one, it has nothing to say."""
    unit = tmp_path / "bearerd.service"
    text = (FOLDER / "bearerd.service").read_text()
    unit.write_text(text.replace("/opt/bearerd/bin/bearerd", "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", str(unit)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    about_us = [line for line in verified.stderr.splitlines() if "bearerd" in line]
    assert about_us == []


def test_prometheus_scrapes_what_is_served(defaults: Settings) -> None:
    """The path and the port are those of the admin listener; the rules are beside."""
    (document,) = documents("prometheus.yaml")
    (job,) = document["scrape_configs"]
    assert job["metrics_path"] in PATHS
    (static,) = job["static_configs"]
    assert static["targets"] == [str(defaults.admin_listen[0])]
    assert [FOLDER / name for name in document["rule_files"]] == [
        FOLDER / "prometheus-alerts.yaml"
    ]
    assert (FOLDER / "prometheus-alerts.yaml").exists()


def test_the_alerts_speak_of_metrics_that_there_are() -> None:
    """Names, and the labels that they are selected and grouped by."""
    metrics = Metrics(
        streams_active=lambda: 0, refresh_waiters=lambda: 0, sources=lambda: ()
    )
    metrics(RequestFinished("c", "p", "GET", "/", 502, 1, "overloaded", 0.1, 0.1))
    metrics(RefreshFailed("p", "asked", "unclear", "timeout", 1, 0.1))
    families = {family.name: family for family in metrics.collect()}
    (document,) = documents("prometheus-alerts.yaml")
    rules = [rule for group in document["groups"] for rule in group["rules"]]
    used = set()
    for rule in rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["annotations"]["summary"]
        for name in re.findall(r"\bbearerd_\w+", rule["expr"]):
            family = re.sub(r"_(total|bucket|count|sum)$", "", name)
            assert family in families
            used.add(family)
        for label in re.findall(r"(\w+)(?:=~|!~|=)\"", rule["expr"]):
            assert label in {"job", "code", "outcome", "profile", "client", "path"}
    assert len({rule["alert"] for rule in rules}) == len(rules)
    assert len(used) >= 5


def test_the_pod_keeps_the_relay_to_itself(defaults: Settings) -> None:
    """Sidecar and agent share loopback; probes ask paths that there are."""
    secret, claim, deployment = documents("kubernetes.yaml")
    pod = deployment["spec"]["template"]["spec"]
    agent, bearerd = pod["containers"]
    env = {one["name"]: one["value"] for one in bearerd["env"]}
    assert env["BEARERD_LISTEN"] == str(defaults.listen[0])
    port = defaults.admin_listen[0].port
    assert env["BEARERD_ADMIN_LISTEN"].endswith(f":{port}")
    assert [one["containerPort"] for one in bearerd["ports"]] == [port]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert bearerd[probe]["httpGet"]["path"] in PATHS
    url = agent["env"][0]["value"]
    assert url == f"{defaults.listen[0].base_url}/v1"
    volumes = {one["name"]: one for one in pod["volumes"]}
    mounts = {one["name"]: one["mountPath"] for one in bearerd["volumeMounts"]}
    assert set(mounts) == set(volumes)
    assert env["BEARERD_STORE"].startswith(f"{mounts['login']}/")
    (key,) = secret["stringData"]
    assert env["BEARERD_CLIENT_KEY_FILE"] == f"{mounts['client-key']}/{key}"
    assert (
        volumes["login"]["persistentVolumeClaim"]["claimName"]
        == claim["metadata"]["name"]
    )
    assert pod["terminationGracePeriodSeconds"] > defaults.drain_seconds
    assert deployment["spec"]["strategy"]["type"] == "Recreate"


def test_a_pod_without_a_key_does_not_start(tmp_path: Path) -> None:
    """The empty key of the file as it is copied is refused, and not a key for all."""
    (secret, *_) = documents("kubernetes.yaml")
    path = tmp_path / "client_key"
    path.write_text(secret["stringData"]["client_key"])
    folders = Folders(config=tmp_path, data=tmp_path)
    with pytest.raises(
        ConfigurationError, match=r"client_key = .*at least 24 characters"
    ):
        load_settings(None, {"BEARERD_CLIENT_KEY_FILE": str(path)}, folders=folders)


def test_nginx_passes_streams_and_waits_longer_than_bearerd(
    defaults: Settings,
) -> None:
    """Unbuffered both ways, to the relay's address, without a second try."""
    text = (FOLDER / "nginx.conf").read_text()
    directives = dict(re.findall(r"^\s*(\w+)\s+(.+);$", text, re.MULTILINE))
    relay = str(defaults.listen[0])
    assert directives["server"] == relay
    assert (
        directives["proxy_buffering"] == directives["proxy_request_buffering"] == "off"
    )
    assert directives["proxy_next_upstream"] == "off"
    seconds = float(directives["proxy_read_timeout"].removesuffix("s"))
    assert seconds > defaults.upstream_idle_timeout_seconds
    assert f"proxy_set_header Host {relay};" in text


@pytest.mark.skipif(not shutil.which("nginx"), reason="needs nginx")
def test_nginx_takes_its_file(tmp_path: Path) -> None:
    """In an http block, with a certificate made for the test."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-keyout", str(tmp_path / "k.pem"), "-out", str(tmp_path / "c.pem")),
            *("-subj", "/CN=bearerd.example"),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    text = (FOLDER / "nginx.conf").read_text()
    text = text.replace("/etc/ssl/bearerd/fullchain.pem", str(tmp_path / "c.pem"))
    text = text.replace("/etc/ssl/bearerd/privkey.pem", str(tmp_path / "k.pem"))
    whole = tmp_path / "nginx.conf"
    whole.write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off;\n{text}\n}}\n"
    )
    checked = subprocess.run(
        ["nginx", "-t", "-q", "-c", str(whole), "-p", str(tmp_path), "-e", "stderr"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert "warn" not in checked.stderr


def test_each_alias_that_is_named_is_served() -> None:
    """The base URLs in the files are paths that the relay knows."""
    texts = " ".join(path.read_text() for path in FILES)
    named = re.findall(r"(?:8787|bearerd\.example)(/[a-z0-9-]+)", texts)
    assert len(named) >= 2
    for found in named:
        assert (
            target.resolve(f"{found}/models".encode()).upstream_target
            == b"/codex/models"
        )
