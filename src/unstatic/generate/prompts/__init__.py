"""From what people type to what a model was trained to read: prompts read, completed, and said again."""
