# SPDX-License-Identifier: AGPL-3.0-or-later
"""Entry point of the plugin: Orthanc's key ``PythonScript`` names this file.

Finds our package and libraries, reads and checks the configuration, builds the application and hands
Orthanc's events to it.  An exception here makes Orthanc refuse to start, which is what we want.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def _find_packages() -> None:
    """Put the libraries of our virtual environment first, and name this folder `drimbox`."""
    venv = os.environ.get("DRIMBOX_VENV", str(HERE.parent / "venv"))
    libraries = Path(venv, "lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages")
    if libraries.is_dir():
        sys.path.insert(0, str(libraries))
    if "drimbox" not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            "drimbox", HERE / "__init__.py", submodule_search_locations=[str(HERE)]
        )
        assert spec is not None and spec.loader is not None  # noqa: S101, PT018 (a file that is there)
        module = importlib.util.module_from_spec(spec)
        sys.modules["drimbox"] = module
        spec.loader.exec_module(module)


def _load() -> None:
    """Start everything that Orthanc's own start allows."""
    from drimbox import selftest
    from drimbox.application import Application
    from drimbox.clock import SystemClock
    from drimbox.config import parse_config
    from drimbox.errors import ConfigurationError
    from drimbox.orthanc_port import OrthancLogHandler, OrthancPort
    from drimbox.startup_checks import check_configuration, check_loaded_plugins, check_version

    root = logging.getLogger("drimbox")
    root.setLevel(logging.INFO)
    root.addHandler(OrthancLogHandler())
    root.propagate = False

    port = OrthancPort()
    whole = port.configuration()
    config = parse_config(whole.get("DrimBox") or {})
    hosts = Path("/etc/hosts").read_text("utf-8", "replace")
    problems = check_configuration(whole, os.environ, hosts, socket.gethostname(), sandbox=config.sandbox)
    problems += selftest.problems()
    if problems:
        raise ConfigurationError("the DRIMbox refuses to start: " + "; ".join(problems))
    root.info("libraries: %s", selftest.versions())

    application = Application(port, config, whole, SystemClock())

    def started() -> None:
        loaded = check_loaded_plugins(port.plugins()) + check_version(port.version())
        if loaded:
            root.error("the DRIMbox does not open its doors: %s", "; ".join(loaded))
            return
        application.start()

    port.on_life(started, application.stop)
    port.filter_requests(application.admit)


_find_packages()
_load()
