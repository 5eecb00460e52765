"""For users of other libraries: ART's and foolbox's interfaces, supervision's records. Each needs its library."""
