"""Faces: found in a frame, aligned by the eyes, embedded, identified, and checked for adversarial glasses."""
