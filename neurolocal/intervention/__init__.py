"""What does the neuron do to the output?"""
