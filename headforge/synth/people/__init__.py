"""Who the people of a dataset are: parameters, skin and the light on them."""
