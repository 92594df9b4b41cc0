"""Files on disk: mapped into memory, found below a folder, written whole or not at all."""
