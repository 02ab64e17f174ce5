"""What the store of these tests says, beside what was collected."""

DESCRIPTIONS = {5: "names of girls", 7: "</script><img src=x onerror=alert(1)>\u202e"}
"""Of neurons of layer 2."""
