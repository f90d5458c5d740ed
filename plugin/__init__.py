# SPDX-License-Identifier: AGPL-3.0-or-later
"""orthanc-drimbox: a DRIMbox (REM-IMG-DB-Va2, profile Native) inside Orthanc."""

__version__ = "0.1.0"
