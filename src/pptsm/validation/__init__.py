"""What must hold before anything is trained: rules (`rules`) over tables (`tables`), asked by Great Expectations."""
