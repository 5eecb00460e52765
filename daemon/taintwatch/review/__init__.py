"""What people say of alerts counts: dismissed false alarms, acknowledged things, snoozed cameras."""
