package meshloom

import (
	"maps"
	"slices"
	"time"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// pending is an event that was not acknowledged, and who waits for it.
type pending struct {
	row    columns.Row
	number uint64
	ack    *Acknowledgement
}

func (e *pending) bytes() uint64 { return uint64(len(e.row.Payload)) }

// publishQueue holds events in order: those that wait, and those sent on the present stream. It has no clock and no I/O.
type publishQueue struct {
	waiting      []*pending
	waitingBytes uint64
	sent         map[uint64][]*pending
	events       uint64 // credit
	bytes        uint64
	sequence     uint64
	due          time.Time // when what waits should go although more may come; zero: nothing waits
}

func (q *publishQueue) push(e *pending, now time.Time) {
	q.waiting = append(q.waiting, e)
	q.waitingBytes += e.bytes()
	if q.due.IsZero() {
		q.due = now.Add(frameLinger)
	}
}

func (q *publishQueue) grant(credit *meshloomv1.PublishCredit) {
	q.events = addCredit(q.events, credit.GetEvents())
	q.bytes = addCredit(q.bytes, credit.GetBytes())
}

// wait tells how long the next batch must wait; false: until something else happens.
func (q *publishQueue) wait(now time.Time) (time.Duration, bool) {
	if q.due.IsZero() || q.events == 0 || q.bytes == 0 {
		return 0, false
	}
	if uint64(len(q.waiting)) >= min(q.events, frameEvents) || q.waitingBytes >= min(q.bytes, frameBytes) {
		return 0, true
	}
	return max(0, q.due.Sub(now)), true
}

// next takes the next batch that the credit admits; any credit at all admits one event.
func (q *publishQueue) next(now time.Time) *meshloomv1.Publication {
	var chunk columns.Chunk
	var rows []columns.Row
	var weight int
	var size uint64
	for len(q.waiting) > len(rows) && uint64(len(rows)) < min(q.events, frameEvents) {
		e := q.waiting[len(rows)]
		if len(rows) > 0 && (size+e.bytes() > q.bytes || weight+e.row.Size() > frameBytes) || !chunk.Add(&e.row, e.row.Size()) {
			break
		}
		rows = append(rows, e.row)
		weight += e.row.Size()
		size += e.bytes()
	}
	taken := slices.Clone(q.waiting[:len(rows)])
	clear(q.waiting[:len(rows)])
	q.waiting = q.waiting[len(rows):]
	q.waitingBytes -= size
	q.events -= uint64(len(rows))
	q.bytes -= min(q.bytes, size)
	q.rearm(now)
	q.sequence++
	if q.sent == nil {
		q.sent = map[uint64][]*pending{}
	}
	q.sent[q.sequence] = taken
	return &meshloomv1.Publication{Sequence: q.sequence, Batch: columns.EncodeBatch(rows, nil)}
}

// rearm lets what waits go at once: it has waited as long as it must.
func (q *publishQueue) rearm(now time.Time) {
	q.due = time.Time{}
	if len(q.waiting) > 0 {
		q.due = now
	}
}

func (q *publishQueue) acknowledged(sequence uint64) []*pending {
	entries := q.sent[sequence]
	delete(q.sent, sequence)
	return entries
}

// refused returns the events that were refused and why; the others go again.
func (q *publishQueue) refused(refused *meshloomv1.Refused, now time.Time) (closed []*pending, why []*PublishError) {
	named := map[uint32]*meshloomv1.EventFailure{}
	for _, failure := range refused.GetFailures() {
		named[failure.GetIndex()] = failure
	}
	rest := named[columns.None]
	if len(named) == 0 {
		rest = &meshloomv1.EventFailure{Reason: "REFUSED", Message: "the pipeline refused the publication"}
	}
	var again []*pending
	for i, e := range q.acknowledged(refused.GetSequence()) {
		failure := named[uint32(i)]
		if failure == nil {
			failure = rest
		}
		if failure == nil {
			again = append(again, e)
			continue
		}
		closed = append(closed, e)
		why = append(why, &PublishError{Reason: failure.GetReason(), Message: failure.GetMessage()})
	}
	q.putBack(again, now)
	return closed, why
}

// disconnected lets what was not acknowledged go again, before what was not sent yet.
func (q *publishQueue) disconnected(now time.Time) {
	var sent []*pending
	for _, sequence := range slices.Sorted(maps.Keys(q.sent)) {
		sent = append(sent, q.sent[sequence]...)
	}
	clear(q.sent)
	q.putBack(sent, now)
	q.events, q.bytes = 0, 0
}

func (q *publishQueue) putBack(entries []*pending, now time.Time) {
	for _, e := range entries {
		q.waitingBytes += e.bytes()
	}
	q.waiting = append(entries, q.waiting...)
	q.rearm(now)
}

// everything takes out all that is open, in the order of publishing.
func (q *publishQueue) everything() []*pending {
	q.disconnected(time.Time{})
	all := q.waiting
	q.waiting, q.waitingBytes, q.due = nil, 0, time.Time{}
	return all
}
