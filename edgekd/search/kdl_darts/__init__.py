"""KDL-DARTS: every cell chosen by gradient, under the teacher and a table of what cells cost on the target."""
