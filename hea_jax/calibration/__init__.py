"""Calibration across scales: data of several scales in one loss, minimised by gradient."""
