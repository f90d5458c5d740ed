# SPDX-License-Identifier: AGPL-3.0-or-later
"""Builds the viewer's files from the published OHIF package; nothing here runs in the product."""
