# SPDX-License-Identifier: AGPL-3.0-or-later
"""Headers as rich as those of a real CT scanner, for measures: size and number of elements matter, not their sense."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from sandbox.exams_common import Order

_BLOCKS = {"ACQUISITION": 0x0021, "RECON": 0x0029, "GEOMETRY": 0x0031}  # name, private group


def rich_headers(ds: Dataset, order: Order, number: int, when: datetime) -> None:
    """Add what scanners write besides the image itself: acquisition, dose, protocol, request, private blocks."""
    _acquisition(ds, number, when)
    _administration(ds, order)
    _sequences(ds, order, number)
    rng = np.random.default_rng((order.seed, 9, number))
    for name, group in _BLOCKS.items():
        _private(ds, group, name, rng, number)


def _acquisition(ds: Dataset, number: int, when: datetime) -> None:
    stamp = when.strftime("%Y%m%d%H%M%S.%f")
    ds.AcquisitionDateTime = stamp
    ds.AcquisitionTime = ds.ContentTime = stamp[8:]
    ds.KVP, ds.XRayTubeCurrent, ds.ExposureTime, ds.Exposure = 100, 180 + number % 60, 500, 90 + number % 30
    ds.ScanOptions, ds.ConvolutionKernel, ds.FilterType = "SPIRAL MODE", ["Br40d", "3"], "FLAT"
    ds.GeneratorPower, ds.FocalSpots, ds.RotationDirection = 42, [0.8, 1.1], "CW"
    ds.DataCollectionDiameter, ds.ReconstructionDiameter = 500, 360
    ds.DistanceSourceToDetector, ds.DistanceSourceToPatient = 1085.6, 595
    ds.GantryDetectorTilt, ds.TableHeight = 0, 151.5
    ds.SingleCollimationWidth, ds.TotalCollimationWidth = 0.6, 38.4
    ds.TableSpeed, ds.TableFeedPerRotation, ds.SpiralPitchFactor = 61.4, 30.72, 0.8
    ds.RevolutionTime, ds.ExposureModulationType = 0.5, "XYZ_EC"
    ds.CTDIvol = 4.2137218934911
    ds.DataCollectionCenterPatient = [0.3515625, -170.6484375, -812.5]
    ds.ReconstructionTargetCenterPatient = [0.3515625, -170.6484375, -812.5]
    ds.IsocenterPosition = [-0.3515625, -15.6484375, -812.5]
    ds.DateOfLastCalibration, ds.TimeOfLastCalibration = "20261118", "071225.000000"
    ds.ProtocolName = "Thorax_Injecte_Adulte"
    ds.AcquisitionType = "SPIRAL"
    ds.SoftwareVersions = ["SANDBOX", "VA30A", "1.0.0"]
    ds.IrradiationEventUID = ds.FrameOfReferenceUID
    ds.SmallestImagePixelValue, ds.LargestImagePixelValue = 0, 4095


def _administration(ds: Dataset, order: Order) -> None:
    ds.IssuerOfPatientID = "HOPITAL-FICTIF"
    ds.PatientAge, ds.PatientSize, ds.PatientWeight = "046Y", 1.68, 63
    ds.PatientComments = "Personne inventée ; images de synthèse"
    ds.InstitutionAddress = "1 rue de l'Exemple, 00000 Nulle-Part"
    ds.InstitutionalDepartmentName = "Service d'imagerie fictif"
    ds.PerformingPhysicianName = "RADIOLOGUE-ESSAI^CLAUDE"
    ds.OperatorsName = "MANIPULATEUR-ESSAI^ALEX"
    ds.RequestingPhysician = "PRESCRIPTEUR-ESSAI^DOMINIQUE"
    ds.RequestingService = "PNEUMOLOGIE"
    ds.RequestedProcedureDescription = order.description
    ds.PerformedProcedureStepID = "PPS-ESSAI-1"
    ds.PerformedProcedureStepStartDate, ds.PerformedProcedureStepStartTime = ds.StudyDate, ds.StudyTime
    ds.PerformedProcedureStepEndDate, ds.PerformedProcedureStepEndTime = ds.StudyDate, ds.StudyTime
    ds.PerformedProcedureStepDescription = "Scanner thoracique avec injection"
    ds.AdmittingDiagnosesDescription = "Contrôle"
    ds.PregnancyStatus, ds.MedicalAlerts, ds.Allergies = 1, "", ""


def _sequences(ds: Dataset, order: Order, number: int) -> None:
    step = Dataset()
    step.ScheduledProcedureStepDescription = "Scanner thoracique avec injection"
    step.ScheduledProcedureStepID, step.RequestedProcedureID = "SPS-ESSAI-1", "RP-ESSAI-1"
    step.ScheduledProtocolCodeSequence = Sequence([_code("ZBQH001", "CCAM", "Scanographie du thorax avec injection")])
    ds.RequestAttributesSequence = Sequence([step])
    ds.ProcedureCodeSequence = Sequence([_code("ZBQH001", "CCAM", "Scanographie du thorax avec injection")])
    ds.AnatomicRegionSequence = Sequence([_code("51185008", "SCT", "Thorax")])
    ds.CTDIPhantomTypeCodeSequence = Sequence([_code("113691", "DCM", "IEC Body Dosimetry Phantom")])
    for keyword, count in (("ReferencedImageSequence", 2), ("SourceImageSequence", 1)):
        items = []
        for k in range(count):
            item = Dataset()
            item.ReferencedSOPClassUID = ds.SOPClassUID
            item.ReferencedSOPInstanceUID = order.uid("reference", keyword, k if count > 1 else number)
            items.append(item)
        setattr(ds, keyword, Sequence(items))


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _private(ds: Dataset, group: int, name: str, rng: np.random.Generator, number: int) -> None:
    """Add one private block: short texts, numbers, vectors and one opaque value, as acquisition logs have."""
    block = ds.private_block(group, f"SANDBOX CT {name}", create=True)
    for k in range(5):
        block.add_new(0x10 + k, "LO", f"{name}_{k}_{int(rng.integers(1 << 30)):08X}")
        block.add_new(0x20 + k, "DS", [f"{v:.6f}" for v in rng.normal(size=3)])
    for k in range(3):
        block.add_new(0x30 + k, "FD", [float(v) for v in rng.normal(size=4)])
        block.add_new(0x40 + k, "IS", [int(v) for v in rng.integers(0, 100000, 2)])
        block.add_new(0x50 + k, "SH", f"T{number:05d}-{k}")
    block.add_new(0x60, "OB", rng.bytes(300))
    block.add_new(0x61, "LT", "Journal de reconstruction fictif. " * 4)
