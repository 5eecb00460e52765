"""Faces on the bench: eyeglasses, enrolment, training of the identity layer, trials."""
