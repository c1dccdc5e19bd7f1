"""A local service that speaks the documented contract, with a catalogue of job stories: demo, notebooks, tests.

::

    stories   what the service would say about a job at each second of its life
    service   the stories over HTTP on 127.0.0.1, with simulated time running at `speed` times real time

Needs the extra: ``pip install "mops_analysis[simulator]"``.
"""

from mops_analysis.simulator.service import Simulator, create_app
from mops_analysis.simulator.stories import STORIES, Story

__all__ = ["STORIES", "Simulator", "Story", "create_app"]
