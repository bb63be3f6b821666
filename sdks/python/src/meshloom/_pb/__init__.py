"""Generated from proto/meshloom/v1 by generate.sh; not to be edited."""
