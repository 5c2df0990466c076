"""One readable file per command: read the recipe, build the parts, loop, write the artifact."""
