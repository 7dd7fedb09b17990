"""EC-DNN: workers stay different and teach each other by pseudo-labels."""
