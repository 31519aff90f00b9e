"""The physical world that nano learns: scenes, physics, rendering and captions that state everything visible."""
