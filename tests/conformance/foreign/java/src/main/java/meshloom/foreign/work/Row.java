package meshloom.foreign.work;

/** An output and the input that it came from. */
record Row(int parent, Output output) {}
