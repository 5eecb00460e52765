"""Sheets to print at true size: page geometry, marks to measure by, and the sign cards."""
