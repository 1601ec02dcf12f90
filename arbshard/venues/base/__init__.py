"""What arbshard wants of a venue: a Protocol for each room of a venue's folder, and the structs they speak in."""
