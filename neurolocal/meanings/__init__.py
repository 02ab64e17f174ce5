"""Has the neuron one meaning or several?"""
