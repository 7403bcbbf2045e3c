"""Files, paths, arrays, devices and the one error that users see."""
