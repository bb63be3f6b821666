package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

// program is what a source does. Events count from 1.
type program struct {
	Count            int    `json:"count" doc:"events; 0: without end"`
	CheckpointEvery  int    `json:"checkpoint_every" default:"1" doc:"every so many events one carries its number as checkpoint; 0: none"`
	CheckpointDigits int    `json:"checkpoint_digits" doc:"above 0: checkpoints are strings of so many digits"`
	IDs              bool   `json:"ids"`
	Attributes       bool   `json:"attributes"`
	Traceparent      string `json:"traceparent"`
	PauseMS          int64  `json:"pause_ms" doc:"between two events"`
	Bytes            int    `json:"bytes" doc:"length of the member fill"`
	FailAt           int    `json:"fail_at" doc:"an error in place of this event"`
	RepeatCheckpoint int    `json:"repeat_checkpoint" doc:"this event carries the checkpoint of the one before"`
}

type event struct {
	N    int    `json:"n"`
	Fill string `json:"fill,omitempty"`
}

// position is the number of the event at which a source stands: as such, or in digits of a string.
type position int

// UnmarshalJSON implements json.Unmarshaler.
func (at *position) UnmarshalJSON(data []byte) error {
	digits := string(data)
	if text, quoted := strings.CutPrefix(digits, `"`); quoted {
		digits = strings.TrimSuffix(text, `"`)
	}
	number, err := strconv.ParseUint(digits, 10, 32)
	*at = position(number)
	return err
}

func newSource(in *interpreter) meshloom.SourceHandler {
	return meshloom.Source(in.produce, meshloom.OnSettled(func(_ context.Context, upTo meshloom.Checkpoint) error {
		var at position
		return errors.Join(upTo.Decode(&at), in.log("settled", at))
	}))
}

// produce goes on behind the event whose number is the checkpoint.
func (in *interpreter) produce(ctx context.Context, from position) iter.Seq2[meshloom.Record, error] {
	p, last := in.Program, int(from)
	return func(yield func(meshloom.Record, error) bool) {
		for i := last + 1; p.Count == 0 || i <= p.Count; i++ {
			if i > last+1 && !pause(ctx, time.Duration(p.PauseMS)*time.Millisecond) {
				return
			}
			if i == p.FailAt {
				yield(meshloom.Record{}, errors.New("the source fails, as its program asks for"))
				return
			}
			if !yield(in.record(i), nil) {
				return
			}
		}
	}
}

// pause waits; it reports false when the source has to stop.
func pause(ctx context.Context, length time.Duration) bool {
	if length == 0 {
		return true
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(length):
		return true
	}
}

// checkpoint is that of event i.
func (p program) checkpoint(i int) any {
	if p.CheckpointDigits == 0 {
		return i
	}
	return fmt.Sprintf("%0*d", p.CheckpointDigits, i)
}

// record is event i.
func (in *interpreter) record(i int) meshloom.Record {
	p := in.Program
	r := meshloom.Record{
		Data:       event{N: i, Fill: strings.Repeat("x", p.Bytes)},
		Extensions: map[string]any{},
		Settled:    func(context.Context) error { return in.log("receipt", i) },
	}
	if p.CheckpointEvery > 0 && i%p.CheckpointEvery == 0 {
		r.Checkpoint = p.checkpoint(i)
	}
	if i == p.RepeatCheckpoint {
		r.Checkpoint = p.checkpoint(i - 1)
	}
	if p.IDs {
		r.ID = fmt.Sprintf("e%d", i)
	}
	if p.Attributes {
		r.Key, r.Type, r.Time = fmt.Sprintf("k%d", i%3), "test", time.Unix(0, int64(i))
		r.Extensions["part"] = i % 2
	}
	if p.Traceparent != "" {
		r.Extensions["traceparent"] = p.Traceparent
	}
	return r
}
