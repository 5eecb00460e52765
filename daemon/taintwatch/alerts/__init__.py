"""From votes to messages: the life of an alert, its form on the wire, the publisher and the subscriber."""
