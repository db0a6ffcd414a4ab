"""Widths and depth of a ResNet learned by gradient descent (TAS; Dong and Yang 2019); experimental."""
