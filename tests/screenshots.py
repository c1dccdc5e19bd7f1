"""Pictures of the dashboard for the documents, live on the simulator in a real JupyterLab: `make screenshots`."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import lab
import nbformat
from PIL import Image

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"

_JOBS = """
import tempfile
import mops_analysis as mops
from mops_analysis.simulator import STORIES, Simulator
stories = [name for name in STORIES if name not in ("dead", "auth-expired")][:{stories}]
simulator = Simulator(speed=30, any_job=True, stories=stories).start()
job_ids = simulator.job_ids + [f"import-{{number:02}}" for number in range({jobs} - len(simulator.job_ids))]
store = mops.SampleStore(tempfile.mkdtemp(dir=".") + "/samples.db")
client = mops.JobStatusClient(base_url=simulator.url, token="any")
"""
_SHOW = """
view = mops.dashboard(
    store, client, job_ids=job_ids, interval_s=0.5, window="2s", theme="{theme}", tz="Europe/Berlin"
)
view
"""


def main() -> None:
    """Take all pictures."""
    program = lab.chromium()
    if program is None:
        sys.exit("Chromium is missing; install it (Debian: apt install chromium), or name its program in MOPS_CHROMIUM")
    with tempfile.TemporaryDirectory() as folder, lab.lab_server(Path(folder)) as url, lab.browser(program) as browser:
        for theme in ("light", "dark"):
            for jobs in (4, 40):
                _take(browser, url, Path(folder) / "root", theme=theme, jobs=jobs)


def _take(browser: object, url: str, root: Path, *, theme: str, jobs: int) -> None:
    context = browser.new_context(viewport={"width": 1640, "height": 1900}, timezone_id="Europe/Berlin")  # type: ignore[attr-defined]
    name = f"{theme}-{jobs}.ipynb"
    cells = [_JOBS.format(jobs=jobs, stories=min(jobs, 12)), _SHOW.format(theme=theme)]
    document = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells])
    document.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(document, root / name)
    notebook = lab.Notebook(context.new_page(), url, name)
    notebook.open()
    notebook.command("apputils:change-theme", theme=f"JupyterLab {theme.title()}")
    notebook.page.evaluate("() => jupyterapp.shell.collapseLeft()")
    notebook.command("notebook:run-all-cells")
    notebook.page.locator(".widget-html figure img").first.wait_for(timeout=60_000)
    notebook.page.wait_for_timeout(32_000)  # so that there is something to see
    notebook.run("view.select('')")
    if jobs > 6:  # those charts are taller
        notebook.page.locator(".widget-html figure img[height='520']").nth(5).wait_for(timeout=60_000)
    panel = notebook.page.locator(".jp-OutputArea").filter(has_text="MerchantOps jobs").last
    panel.evaluate("node => node.scrollIntoView()")
    picture = Image.open(io.BytesIO(panel.locator(".widget-vbox").first.screenshot())).convert("RGB")
    path = FOLDER / f"dashboard-{theme}-{jobs}.png"
    picture.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, optimize=True)
    notebook.run("view.stop(); simulator.stop()")
    notebook.close()
    context.close()


if __name__ == "__main__":
    main()
