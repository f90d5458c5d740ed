# SPDX-License-Identifier: AGPL-3.0-or-later
"""Official samples against the running appliance."""

from tests.system.conftest import appliance  # noqa: F401 (a fixture)
