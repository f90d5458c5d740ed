# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may do what on the DMP: the official matrices as a table (dmp_soap, section 2; normal mode only)."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """Authentication mode of the VIHF."""

    INDIRECT = "INDIRECTE"
    AIR = "INDIRECTE_RENFORCEE"


class Transaction(StrEnum):
    """Transactions of the DMP, by their national number."""

    EXISTENCE = "TD0.2"
    AUTHORISATION = "TD0.3"
    LIST_AUTHORISED = "TD0.4"
    ADMIN_DATA = "TD1.3a"
    PUBLISH = "TD2.1"
    SEARCH = "TD3.1"
    REFERENCE = "TD3.1b"
    RETRIEVE = "TD3.2"
    MASK = "TD3.3a"
    MAKE_VISIBLE = "TD3.3b"
    DELETE = "TD3.3c"
    ARCHIVE = "TD3.3d"


class Right(StrEnum):
    """Yes, no, or only for documents of the caller's structure or of the caller."""

    YES = "yes"
    NO = "no"
    STRUCTURE = "structure's own"
    OWN = "own"


_T, _R = Transaction, Right
_MATRIX: dict[Transaction, tuple[Right, Right]] = {
    #                    INDIRECT      AIR
    _T.EXISTENCE:       (_R.YES,       _R.YES),
    _T.AUTHORISATION:   (_R.NO,        _R.YES),
    _T.LIST_AUTHORISED: (_R.YES,       _R.YES),
    _T.ADMIN_DATA:      (_R.YES,       _R.YES),
    _T.PUBLISH:         (_R.YES,       _R.NO),
    _T.SEARCH:          (_R.NO,        _R.YES),
    _T.REFERENCE:       (_R.YES,       _R.YES),
    _T.RETRIEVE:        (_R.NO,        _R.YES),
    _T.MASK:            (_R.NO,        _R.YES),
    _T.MAKE_VISIBLE:    (_R.NO,        _R.YES),
    _T.DELETE:          (_R.STRUCTURE, _R.OWN),
    _T.ARCHIVE:         (_R.NO,        _R.YES),
}  # fmt: skip

RIGHTS: dict[tuple[Mode, Transaction], Right] = {
    (mode, transaction): rights[column]
    for transaction, rights in _MATRIX.items()
    for column, mode in enumerate((Mode.INDIRECT, Mode.AIR))
}


def right(mode: Mode, transaction: Transaction) -> Right:
    """The cell of the matrix; what is not in it is forbidden."""
    return RIGHTS.get((mode, transaction), Right.NO)
