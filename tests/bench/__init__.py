# SPDX-License-Identifier: AGPL-3.0-or-later
"""Benchmarks: each figure beside a reference measured in the same run; `./drimbox bench NAME`."""
