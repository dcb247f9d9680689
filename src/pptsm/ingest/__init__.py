"""What comes in from outside: videos and their labels, and published weights. Without Paddle."""
