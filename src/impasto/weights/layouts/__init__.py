"""The ways in which the world lays a model out in files, one table a layout."""
