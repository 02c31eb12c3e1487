"""Levy processes in a one-dimensional potential: the fractional Fokker-Planck equation as a jump process on a grid."""
