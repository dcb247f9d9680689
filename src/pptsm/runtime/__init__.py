"""What any program needs: errors, the console, files, processes. It knows nothing of videos."""
