package meshloom

import (
	"time"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
)

// BePatient lets a node of the tests flush its spans for as long as a slow machine takes.
func BePatient() { flushTimeout = time.Minute }

// EventAt is the event that a handler is given for row i of a batch.
func EventAt(view *columns.View, i int) Event { return Event{view: view, index: i, attempt: 1} }
