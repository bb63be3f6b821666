package meshloom

import "time"

const (
	exactBelow = time.Second            // a timeout below it is held against exact times
	fastCalls  = 100 * time.Microsecond // how long calls may share one look at the clock
	sharedLook = 31                     // how many more calls share it at most
)

// clock tells when calls begin. A look costs as much as a fast handler, so calls that follow one another within 100
// microseconds share one. When one of these is slow after all, the stream's ticker notices and asks for the next look: a
// call is never taken for more than a tick older than it is.
type clock struct {
	last  time.Duration // the last look, after the work's start
	share int           // calls that share a look
	left  int           // calls until the next
	exact bool          // every call looks
}

// look returns when a call begins, after start.
func (c *clock) look(start time.Time) time.Duration {
	if c.left > 0 {
		c.left--
		return c.last
	}
	c.set(time.Since(start))
	return c.last
}

// set takes down the time; the faster the calls were, the more share it.
func (c *clock) set(now time.Duration) {
	if c.exact || now-c.last > fastCalls {
		c.share = 0
	} else {
		c.share = min(2*c.share+1, sharedLook)
	}
	c.last, c.left = now, c.share
}

// expire makes the next call look.
func (c *clock) expire() { c.left = 0 }
