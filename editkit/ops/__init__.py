"""The operations networks are made of: one interface, several backends (see ``backends``)."""
