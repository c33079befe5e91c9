"""The layers that most architectures use: products, norms, pointwise functions, attention, choices of rows and columns.

`layers.Layers` puts them together. The room knows no architecture and no mixture of experts.
"""
