"""The built-in physical world: a grammar of scenes, their physics, pictures and captions."""
