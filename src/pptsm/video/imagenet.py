"""ImageNet's mean and standard deviation of red, green and blue, of values in 0..1: what clips are normalised by."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
