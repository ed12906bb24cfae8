"""Figures of training curves."""
