"""What clients see: the service that shows an API on D-Bus, and the names, tables and handlers of our API."""
