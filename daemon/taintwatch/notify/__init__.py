"""Alerts where other systems are: MQTT with Home Assistant's discovery, and webhooks. Nobody ever waits for it."""
