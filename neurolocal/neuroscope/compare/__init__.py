"""Two stores, or a store and a list of maxima: where do they agree?"""
