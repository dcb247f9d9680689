"""Files of videos and of numbered frames, decoded to frames. The only decoder."""
