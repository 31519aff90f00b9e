"""The physical world that nano learns: scenes, physics, rendering, and captions that state what is seen."""
