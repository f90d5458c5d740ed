# SPDX-License-Identifier: AGPL-3.0-or-later
"""Stand-ins of the national services, a RIS, throw-away certificates and exams made by our own code.

Nothing here imports `drimbox`: what judges the product must not share its mistakes.
"""
