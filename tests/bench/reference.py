# SPDX-License-Identifier: AGPL-3.0-or-later
"""What we measure against: Orthanc's own DICOMweb plugin without any guard, and nginx with one static file.

Both behind an nginx with the same TLS, client certificate and buffers as the appliance's.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drimbox.supervisor import port_open

NGINX = """
daemon off; worker_processes 2; pid {work}/nginx.pid; error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on;
  client_body_temp_path {work}/b; proxy_temp_path {work}/p; fastcgi_temp_path {work}/f;
  uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:tls:10m; ssl_session_tickets off;
  ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;
  proxy_http_version 1.1; proxy_set_header Connection "";
  proxy_buffering on; proxy_buffers 16 128k; proxy_buffer_size 128k; proxy_busy_buffers_size 1m;
  proxy_max_temp_file_size 0; proxy_read_timeout 300s;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {pki}/db-server.pem; ssl_certificate_key {pki}/db-server.key;
    ssl_verify_client on; ssl_verify_depth 3; ssl_client_certificate {pki}/igc-ca.pem; ssl_crl {pki}/crl-bundle.pem;
    location /dicom-web/ {{ proxy_pass http://127.0.0.1:{orthanc}; }}
    location = /static {{ alias {static}; }}
  }}
}}
"""


@dataclass(frozen=True)
class Reference:
    """Addresses, and Orthanc's process."""

    plugin: str
    static: str
    dicom_port: int
    orthanc_pid: int


@contextmanager
def running(work: Path, pki: Path, base_port: int, static: Path) -> Iterator[Reference]:
    """Start both; stop them at the end."""
    work.mkdir(parents=True, exist_ok=True)
    port, orthanc, dicom = base_port, base_port + 1, base_port + 2
    configuration = {
        "HttpPort": orthanc,
        "DicomPort": dicom,
        "StorageDirectory": str(work / "orthanc"),
        "IndexDirectory": str(work / "orthanc"),
        "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
        "AuthenticationEnabled": False,
        "MaximumStorageCacheSize": 16,
        "StorageAccessOnFind": "Never",
        "DicomAlwaysAllowStore": True,
        "DicomCheckCalledAet": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (work / "orthanc").mkdir(exist_ok=True)
    (work / "orthanc.json").write_text(json.dumps(configuration))
    (work / "nginx.conf").write_text(NGINX.format(work=work, port=port, pki=pki, orthanc=orthanc, static=static))
    environment = {**os.environ, "TCP_NODELAY": "1", "MALLOC_ARENA_MAX": "4"}
    with (work / "log").open("wb") as log:
        processes = [
            subprocess.Popen(["Orthanc", str(work / "orthanc.json")], stdout=log, stderr=log, env=environment),
            subprocess.Popen(["nginx", "-e", "stderr", "-c", str(work / "nginx.conf")], stdout=log, stderr=log),
        ]
        try:
            deadline = time.monotonic() + 30
            while not all(port_open(p) for p in (port, orthanc, dicom)):
                assert time.monotonic() < deadline, (work / "log").read_text()[-2000:]
                time.sleep(0.1)
            root = f"https://localhost:{port}"
            yield Reference(f"{root}/dicom-web", f"{root}/static", dicom, processes[0].pid)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(20)
