"""Settings of a transfer to one device, as data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from equilog.names import Strict

Trained = Literal["all", "digital", "readout"]


class AdaptConfig(Strict):
    """What is done to a model so that it works on one device, in the order in which it is done."""

    samples: int | None = Field(default=None, ge=1)
    """use only so many of the training samples: a device may be slow; all of them unless given"""
    calibrate: bool = True
    """correct the device's readings by a gain and an offset a node, see :class:`~equilog.devices.Calibration`"""
    identify_settles: int | None = Field(default=None, ge=0)
    """drives to identify the chip from; ten for every state and drive unless given; none without a technology, or
    where nothing is trained that a twin is needed for"""
    refit_readout: bool = True
    """fit the readout to the states that the device gives before anything else is trained"""
    train: Trained = "all"
    """``all``: weights of the cell too, so that the device is programmed anew at every step; ``digital``: what is
    before and behind the device, which is programmed once; ``readout``: what is behind it. The more is trained, the
    more samples it takes not to fit them by heart"""
    epochs: int = Field(default=10, ge=0)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    """at the start; it falls to zero along a cosine"""
    gradient_clip: float = Field(default=1.0, gt=0)
    """largest norm of a step's gradient: on a bad chip a sample may rest where the twin hardly does"""
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
