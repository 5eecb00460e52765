"""Judgements count: dismissed false alarms, acknowledged things, snoozed cameras."""
