package meshloom

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// Checkpoint is a position in a source: a JSON value that the source chose. The zero value is the start.
type Checkpoint struct{ raw []byte }

// IsZero tells that there is no checkpoint: the source starts from its beginning.
func (c Checkpoint) IsZero() bool { return c.raw == nil }

// Decode reads the checkpoint into v; without a checkpoint v stays as it is.
func (c Checkpoint) Decode(v any) error {
	if c.IsZero() {
		return nil
	}
	if err := json.Unmarshal(c.raw, v); err != nil {
		return &CheckpointError{fmt.Errorf("the checkpoint %.80q does not fit %T: %w; it was written by another version of this source", c.raw, v, err)}
	}
	return nil
}

// MarshalJSON implements [json.Marshaler].
func (c Checkpoint) MarshalJSON() ([]byte, error) {
	if c.IsZero() {
		return []byte("null"), nil
	}
	return c.raw, nil
}

// UnmarshalJSON implements [json.Unmarshaler]; null is the value null, not the start.
func (c *Checkpoint) UnmarshalJSON(data []byte) error {
	c.raw = bytes.Clone(data)
	return nil
}

// CheckpointError refuses the checkpoint that a source was to resume from: the pipeline does not start. [Checkpoint.Decode]
// returns one for a checkpoint that does not fit; yield one of your own for a position that is not there any more.
type CheckpointError struct {
	Err error // tells a person why, and what to do
}

// Error returns the text of the cause.
func (e *CheckpointError) Error() string {
	return causeText(e.Err, "the source cannot go on from this checkpoint")
}

// Unwrap returns the cause.
func (e *CheckpointError) Unwrap() error { return e.Err }

// checkCheckpoint checks what a stream is to resume from; nil is the start.
func checkCheckpoint(raw []byte) error {
	switch {
	case raw == nil:
		return nil
	case len(raw) > columns.MaxCheckpointBytes:
		return &CheckpointError{fmt.Errorf("the checkpoint has %d bytes, the limit is %d", len(raw), columns.MaxCheckpointBytes)}
	case !json.Valid(raw):
		return &CheckpointError{fmt.Errorf("the checkpoint %.80q is no JSON: it was written by another source", raw)}
	default:
		return nil
	}
}

// String returns the checkpoint's JSON, empty at the start.
func (c Checkpoint) String() string { return string(c.raw) }

// Record is one event of a source. Only Data is needed.
type Record struct {
	Data        any       // a value for encoding/json, or a []byte as it is
	ContentType string    // default: application/json, for a []byte application/octet-stream
	ID          string    // CloudEvents id; default: made from the checkpoint, the same again after a replay
	Source      string    // CloudEvents source; default: PIPELINE/NODE
	Type        string    // CloudEvents type
	Subject     string    // CloudEvents subject
	Key         string    // ordering key, at most 1 KiB
	DataSchema  string    // CloudEvents dataschema
	Time        time.Time // when the event occurred; zero: unknown

	// Extensions are CloudEvents extension attributes, see [Out.Extension]. A sampled `traceparent` is continued.
	Extensions map[string]any
	// Checkpoint is a value for encoding/json that says: this event and all before it need not come again. nil: none.
	// It must differ from the one before it. Of several events that belong together only the last carries it.
	Checkpoint any
	// Settled, if set, is called once when all that came from this event has settled, or, in a source that is [Volatile], when
	// it is durable: acknowledge or delete it upstream. Calls come one at a time, off the iterator, and also after ctx of the
	// source is done. An error is logged. A [Publisher] takes none.
	Settled func(ctx context.Context) error
}

// SourceHandler produces events. Made by [Source].
type SourceHandler struct{ b body }

func (SourceHandler) role() meshloomv1.HandlerRole {
	return meshloomv1.HandlerRole_HANDLER_ROLE_SOURCE
}
func (h SourceHandler) body() body { return h.b }

type sourceBody struct {
	resume  func(from Checkpoint) (producer, error) // fails for a checkpoint that does not fit
	settled func(ctx context.Context, upTo Checkpoint) error
}

// producer runs a source from the position that it was made for.
type producer func(ctx context.Context) iter.Seq2[Record, error]

// SourceOption sets a property of a source that may depend on its set-up.
type SourceOption func(*sourceBody)

// OnSettled calls commit when everything up to a checkpoint has settled and the checkpoint is kept durably: commit an
// offset, delete what was read. Calls come one at a time, in order; one that is slower than the pipeline finds checkpoints
// skipped. An error is logged.
func OnSettled(commit func(ctx context.Context, upTo Checkpoint) error) SourceOption {
	return func(b *sourceBody) { b.settled = commit }
}

// Source makes a handler that produces events from a checkpoint on, which is read from JSON into a Position: its zero value is
// the start; [Checkpoint] takes it as it is. A checkpoint that does not fit is refused, and the pipeline does not start.
//
// The iterator is called once per stream; it blocks in yield while the pipeline has no room, and must end when ctx is done. An
// iterator that ends while ctx is not done says that the source is exhausted for good. An error that it yields ends the stream;
// the coordinator opens it again later.
func Source[Position any](produce func(ctx context.Context, from Position) iter.Seq2[Record, error], opts ...SourceOption) SourceHandler {
	b := &sourceBody{resume: func(from Checkpoint) (producer, error) {
		var position Position
		if raw, ok := any(&position).(*Checkpoint); ok {
			*raw = from
		} else if err := from.Decode(&position); err != nil {
			return nil, err
		}
		return func(ctx context.Context) iter.Seq2[Record, error] { return produce(ctx, position) }, nil
	}}
	for _, set := range opts {
		set(b)
	}
	return SourceHandler{body{source: b}}
}

// identity numbers events from the last checkpoint on: C#n, n from 1, the same after a replay.
type identity struct {
	volatile   bool   // nothing comes again: a number would be that of another event after a restart, so none is given
	checkpoint []byte // the last one before the event, nil at the start
	prefix     []byte // C#
	count      uint64 // events since
	text       []byte
}

func newIdentity(from []byte, volatile bool) identity {
	return identity{volatile: volatile, checkpoint: from, prefix: idPrefix(from)}
}

// longCheckpoint is the length above which a checkpoint stands in ids as its SHA-256.
const longCheckpoint = 256

func idPrefix(checkpoint []byte) []byte {
	if len(checkpoint) <= longCheckpoint {
		return append(bytes.Clone(checkpoint), '#')
	}
	return fmt.Appendf(nil, "%x#", sha256.Sum256(checkpoint))
}

// next returns the id of the next event.
func (n *identity) next() string {
	n.count++
	n.text = strconv.AppendUint(append(n.text[:0], n.prefix...), n.count, 10)
	return string(n.text)
}

// repeatedError is a checkpoint that came twice in a row.
type repeatedError struct{ checkpoint []byte }

func (e *repeatedError) Error() string {
	return fmt.Sprintf("the checkpoint %.80q came twice in a row: of several events that belong together only the last may carry it", e.checkpoint)
}

// pass moves on to a new checkpoint.
func (n *identity) pass(checkpoint []byte) error {
	if n.checkpoint != nil && bytes.Equal(n.checkpoint, checkpoint) {
		return &repeatedError{checkpoint}
	}
	n.checkpoint, n.prefix, n.count = checkpoint, idPrefix(checkpoint), 0
	return nil
}

// encodeRecord returns the row of a record and its checkpoint, nil if it has none.
func encodeRecord(a *arena, r *Record, ids *identity) (row columns.Row, checkpoint []byte, err error) {
	row.Parent = columns.None
	if err = a.fill(&row, Emit(r.Data)); err != nil {
		return row, nil, err
	}
	meta := &columns.Meta{}
	for _, set := range []struct {
		to    *columns.Attr
		value string
	}{
		{&meta.ContentType, r.ContentType}, {&meta.ID, r.ID}, {&meta.Source, r.Source}, {&meta.Type, r.Type},
		{&meta.Subject, r.Subject}, {&meta.Key, r.Key}, {&meta.DataSchema, r.DataSchema},
	} {
		if set.value != "" {
			*set.to = columns.SetTo(set.value)
		}
	}
	if id := ids.next(); r.ID == "" && !ids.volatile {
		meta.ID = columns.SetTo(id)
	}
	if !r.Time.IsZero() {
		meta.TimeSet = true
		if meta.Time, err = nanos(r.Time); err != nil {
			return row, nil, err
		}
	}
	for name, value := range r.Extensions {
		if err := meta.SetExtension(name, value); err != nil {
			return row, nil, err
		}
	}
	if err := meta.Check(); err != nil {
		return row, nil, err
	}
	row.Meta = meta
	if r.Checkpoint == nil {
		return row, nil, nil
	}
	if checkpoint, err = json.Marshal(r.Checkpoint); err != nil {
		return row, nil, fmt.Errorf("the checkpoint of type %T cannot be encoded as JSON: %w", r.Checkpoint, err)
	}
	if len(checkpoint) > columns.MaxCheckpointBytes {
		return row, nil, fmt.Errorf("the checkpoint has %d bytes, the limit is %d: keep a position, not what was read", len(checkpoint), columns.MaxCheckpointBytes)
	}
	return row, checkpoint, ids.pass(checkpoint)
}
