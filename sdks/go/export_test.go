package meshloom

import "time"

// BePatient lets a node of the tests flush its spans for as long as a slow machine takes.
func BePatient() { flushTimeout = time.Minute }
