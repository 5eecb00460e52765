"""CMAG at run time: an image is rebuilt from what the classifier believes it sees, and compared with the image.

Source: Han et al., CMAG (2021). FMR rebuilds the image from the last maps, LR from the softmax, GR from the Hadamard
product of the two; an image that its reconstruction does not resemble is suspicious.
"""
