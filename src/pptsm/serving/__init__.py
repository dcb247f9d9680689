"""From an exported file and videos to answers; what it needs, it reads in the file. No Paddle, no params.yaml."""
