"""A real JupyterLab and a real Chromium for the browser tests; everything they write is in one temporary folder."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]

# Covers the lower right corner of the page otherwise.
_NO_NEWS = {"fetchNews": "false", "checkForUpdates": False}

_IS_IDLE = """() => {
    const session = window.jupyterapp?.shell.currentWidget?.sessionContext;
    return session && session.isReady && session.session?.kernel?.status === "idle";
}"""

_IS_RUN = """() => {
    const cells = [...window.jupyterapp.shell.currentWidget.content.model.cells];
    return cells.every(cell => cell.type !== "code" || (cell.executionCount && cell.executionState !== "running"));
}"""

_PIXELS = """async image => {
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    let hash = 0;
    for (const value of context.getImageData(0, 0, canvas.width, canvas.height).data)
        hash = (hash * 31 + value) | 0;
    return [canvas.width, canvas.height, hash];
}"""


def chromium() -> str | None:
    """The browser's program: what MOPS_CHROMIUM names, else Debian's."""
    return os.environ.get("MOPS_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@contextlib.contextmanager
def lab_server(folder: Path) -> Iterator[str]:
    """Run JupyterLab, and Notebook 7 beside it, on a free loopback port; gives their address.

    Notebooks live in `folder / "root"`.
    """
    root, settings = folder / "root", folder / "settings" / "@jupyterlab" / "apputils-extension"
    root.mkdir(parents=True)
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(_NO_NEWS))
    environment = _environment(folder)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"),
        *("--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={root}"),
        *("--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True"),
    ]
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(f"{url}/api/status", server, folder / "lab.log")
        yield url
    finally:
        server.terminate()
        server.wait(20)


def _environment(folder: Path) -> dict[str, str]:
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
        "MPLCONFIGDIR": "matplotlib",
    }
    return os.environ | {name: str(folder / place) for name, place in places.items()}


@contextlib.contextmanager
def voila_server(folder: Path, *arguments: str) -> Iterator[str]:
    """Run `mops dashboard` on a free loopback port; gives its address, which has the token."""
    folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "mops_analysis", "dashboard", "--no-browser", f"--port={port}", *arguments]
    log = folder / "voila.log"
    with log.open("w") as written:
        server = subprocess.Popen(
            command, env=_environment(folder), cwd=folder, stdout=written, stderr=written, start_new_session=True
        )
    try:
        yield _address_in(log, server)
    finally:
        os.killpg(server.pid, signal.SIGINT)
        server.wait(20)


def _address_in(log: Path, server: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        if found := re.search(r"http://\S+token=\w+", log.read_text()):
            return found[0]
        time.sleep(0.1)
    raise RuntimeError(f"Voilà did not come up:\n{log.read_text()[-2000:]}")


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as reply:
            if reply.status == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not come up:\n{log.read_text()[-2000:]}")


@contextlib.contextmanager
def browser(program: str) -> Iterator[Any]:
    """Start a headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, headless=True, args=_FLAGS)
        yield running
        running.close()


class Notebook:
    """One notebook in one page; collects what the page complains about.

    Attributes
    ----------
    page
        Playwright's page.
    complaints
        Errors of the page and of its console.
    """

    def __init__(self, page: Any, url: str, path: str, *, app: str = "lab") -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda line: line.type == "error" and self.complaints.append(line.text))
        places = {"lab": f"lab/workspaces/{path.replace('.', '-')}/tree/{path}?reset", "notebook": f"notebooks/{path}"}
        self._url = f"{url}/{places[app]}"

    def open(self) -> None:
        """Show the notebook and wait for its kernel."""
        self.page.goto(self._url, wait_until="domcontentloaded")
        self.page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook", timeout=60_000)
        self.wait_until_idle()

    def wait_until_idle(self) -> None:
        """Wait until the kernel has nothing to do."""
        self.page.wait_for_function(_IS_IDLE, timeout=60_000)

    def wait_until_run(self) -> None:
        """Wait until every code cell has been run."""
        self.page.wait_for_function(_IS_RUN, timeout=60_000)
        self.wait_until_idle()

    def command(self, name: str, **arguments: object) -> None:
        """Run a command of JupyterLab and wait for its end."""
        self.page.evaluate("([name, args]) => window.jupyterapp.commands.execute(name, args)", [name, arguments])

    def begin(self, name: str) -> None:
        """Run a command of JupyterLab and do not wait for it."""
        self.page.evaluate("name => { window.jupyterapp.commands.execute(name); }", name)

    def cells(self) -> int:
        """How many cells the notebook has."""
        return int(self.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.model.cells.length"))

    def run(self, code: str) -> str:
        """Run code in the kernel behind the page's back; gives what it printed, raises where it failed."""
        script = """async code => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const future = kernel.requestExecute({code, silent: false, store_history: false});
            let text = "";
            future.onIOPub = message => {
                if (message.header.msg_type === "stream") text += message.content.text;
                if (message.header.msg_type === "error") text += "ERROR " + message.content.evalue;
            };
            await future.done;
            return text;
        }"""
        printed = str(self.page.evaluate(script, code))
        if "ERROR " in printed:
            raise RuntimeError(printed)
        return printed

    def pixels(self, image: Any) -> list[int]:
        """Width, height and a hash of what an `<img>` shows."""
        return list(image.evaluate(_PIXELS))

    def close(self) -> None:
        """End the kernel and the page."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        self.page.close()
