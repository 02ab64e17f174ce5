"""A store -> a website with Neuroscope's addresses and page form."""
