# SPDX-License-Identifier: AGPL-3.0-or-later
"""Schema migrations (Alembic); run by `store.Store` at start."""
