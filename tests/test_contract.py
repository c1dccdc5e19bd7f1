"""The simulator against the contract, `data/job-status.yaml`: the published OpenAPI document of the operation."""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import yaml
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from mops_analysis.schema import JobStatus
from mops_analysis.simulator import STORIES, Simulator

CONTRACT = Path(__file__).with_name("data") / "job-status.yaml"


def test_schemathesis_finds_no_failure(tmp_path: Path) -> None:
    """200 generated requests, valid and invalid, with every check on: not one reply breaks the contract."""
    with Simulator(any_job=True, speed=600.0) as simulator:
        options = "--checks all --max-examples 200 --generation-deterministic --no-color --report-json-path report.json"
        run = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run", CONTRACT, "--url", simulator.url, *options.split()],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert run.returncode == 0, run.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["failures"] == report["errors"] == []
    assert report["test_cases"]["generated"] >= 200
    assert report["phases"]["coverage"]["status"] == report["phases"]["fuzzing"]["status"] == "success"


@pytest.mark.parametrize("speed", [0.0, 1e9])
def test_replies_have_exactly_the_six_fields(speed: float) -> None:
    """Every story, at its beginning and at its end, is served with the contract's fields and nothing else."""
    contract = yaml.safe_load(CONTRACT.read_text())["components"]["schemas"]["JobStatusResponse"]
    with Simulator(speed=speed) as simulator, requests.Session() as session:
        assert len(simulator.job_ids) == len(STORIES)
        for job_id in simulator.job_ids:
            reply = session.get(f"{simulator.url}/api/jobs/{job_id}/status", timeout=5)
            assert (reply.status_code, reply.headers["Content-Type"]) == (200, "application/json")
            assert sorted(reply.json()) == sorted(contract["required"]) == sorted(contract["properties"])
            assert JobStatus.from_reply(reply.json(), job_id)


@pytest.mark.skipif(shutil.which("prism") is None, reason="Prism is not on PATH: npm install @stoplight/prism-cli")
def test_prism_finds_no_violation() -> None:
    """Through Prism's checking proxy, each story comes through at every stage of its life."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Simulator(speed=600.0) as simulator:
        options = ["-h", "127.0.0.1", "-p", str(port), "--errors", str(CONTRACT), simulator.url]
        proxy = subprocess.Popen(["prism", "proxy", *options], stdout=subprocess.DEVNULL)
        try:
            with requests.Session() as session:
                session.mount("http://", HTTPAdapter(max_retries=Retry(connect=8, backoff_factor=0.1)))
                for job_id in simulator.job_ids * 20:
                    reply = session.get(f"http://127.0.0.1:{port}/api/jobs/{job_id}/status", timeout=5)
                    assert reply.status_code == 200, reply.text
        finally:
            proxy.terminate()
            proxy.wait(timeout=5)
