package meshloom_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	"github.com/meshloom/meshloom/sdks/go/internal/harness"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// counting yields from+1 to limit; every third carries a checkpoint.
func counting(limit int) meshloom.SourceHandler {
	return meshloom.Source(func(_ context.Context, from meshloom.Checkpoint) iter.Seq2[meshloom.Record, error] {
		return func(yield func(meshloom.Record, error) bool) {
			last := 0
			if err := from.Decode(&last); err != nil {
				yield(meshloom.Record{}, err)
				return
			}
			for i := last + 1; i <= limit; i++ {
				r := meshloom.Record{Data: i}
				if i%3 == 0 {
					r.Checkpoint = i
				}
				if !yield(r, nil) {
					return
				}
			}
		}
	})
}

// frames reads until the source is exhausted or the stream ends.
func frames(t *testing.T, p *harness.Produce) (all []*meshloomv1.Produced) {
	t.Helper()
	for {
		frame, _ := p.Next(t)
		if frame == nil {
			return all
		}
		all = append(all, frame)
	}
}

// idsOf lists payload=id of frames.
func idsOf(t *testing.T, all []*meshloomv1.Produced) string {
	t.Helper()
	var got []string
	for _, frame := range all {
		view, err := columns.Decode(frame.GetBatch())
		if err != nil {
			t.Fatal(err)
		}
		for i := range view.Count {
			id, _ := view.ID.At(i)
			got = append(got, fmt.Sprintf("%s=%s", view.Payload(i), id))
		}
	}
	return strings.Join(got, " ")
}

func TestSourceIdsAreTheSameAfterAReplay(t *testing.T) {
	s := serve(t, meshloom.New("s", counting(8)))
	p := s.Produce(t, &meshloomv1.OpenProduce{Node: "s"})
	p.Demand(t, 100, 1<<20)
	all := frames(t, p)
	if got, want := idsOf(t, all), "1=#1 2=#2 3=#3 4=3#1 5=3#2 6=3#3 7=6#1 8=6#2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if last := all[len(all)-1]; string(last.Checkpoint) != "6" {
		t.Errorf("checkpoint %s", last.Checkpoint)
	}
	again := s.Produce(t, &meshloomv1.OpenProduce{Node: "s", Checkpoint: []byte("3")})
	again.Demand(t, 2, 1<<20) // cut differently
	again.Demand(t, 100, 1<<20)
	if got, want := idsOf(t, frames(t, again)), "4=3#1 5=3#2 6=3#3 7=6#1 8=6#2"; got != want {
		t.Errorf("after a replay: got %s, want %s", got, want)
	}
}

func TestSourceThatDoesNotReplayMakesUpNoIds(t *testing.T) {
	p := serve(t, meshloom.New("s", counting(4), meshloom.Volatile())).Produce(t, &meshloomv1.OpenProduce{Node: "s"})
	p.Demand(t, 100, 1<<20)
	if got, want := idsOf(t, frames(t, p)), "1= 2= 3= 4="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSourceFrameCarriesTheLastCheckpointEvenIfItIsOfAFrameBefore(t *testing.T) {
	p := serve(t, meshloom.New("s", counting(5))).Produce(t, &meshloomv1.OpenProduce{Node: "s"})
	var got []string
	for range 5 {
		p.Demand(t, 1, 1<<20)
		frame, _ := p.Next(t)
		got = append(got, fmt.Sprintf("%d:%s:%v", frame.GetSequence(), frame.GetCheckpoint(), frame.Checkpoint != nil))
	}
	if want := "1::false 2::false 3:3:true 4:3:true 5:3:true"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestSourceKeepsToItsCredit(t *testing.T) {
	var yielded atomic.Int32
	p := serve(t, meshloom.New("s", meshloom.Source(func(context.Context, meshloom.Checkpoint) iter.Seq2[meshloom.Record, error] {
		return func(yield func(meshloom.Record, error) bool) {
			for yield(meshloom.Record{Data: []byte(strings.Repeat("x", 100))}, nil) {
				yielded.Add(1)
			}
		}
	}))).Produce(t, &meshloomv1.OpenProduce{Node: "s"})
	expect := func(events, bytes uint64, want uint32) { // in however many frames
		t.Helper()
		p.Demand(t, events, bytes)
		for got := uint32(0); got < want; {
			frame, _ := p.Next(t)
			if got += frame.GetBatch().GetCount(); got > want {
				t.Fatalf("credit %d events, %d bytes: %d events, want %d", events, bytes, got, want)
			}
		}
	}
	expect(3, 1<<20, 3) // by events
	expect(1, 0, 1)     // bytes of before are left
	expect(0, 1<<20, 0) // no events: nothing
	expect(10, 0, 10)   // now both
	p.Stop(t)
	for {
		frame, exhausted := p.Next(t)
		if frame == nil && !exhausted {
			break
		}
		t.Fatalf("after Stop without credit: %v, exhausted %v", frame, exhausted)
	}
	if got := yielded.Load(); got > 15 {
		t.Errorf("%d records were taken for a credit of 14", got)
	}
}

func TestSourceSendsOneLargeEventForAnyCredit(t *testing.T) {
	p := serve(t, meshloom.New("s", meshloom.Source(func(context.Context, meshloom.Checkpoint) iter.Seq2[meshloom.Record, error] {
		return func(yield func(meshloom.Record, error) bool) {
			_ = yield(meshloom.Record{Data: []byte("small")}, nil) && yield(meshloom.Record{Data: make([]byte, 1000)}, nil) && yield(meshloom.Record{Data: []byte("end")}, nil)
		}
	}))).Produce(t, &meshloomv1.OpenProduce{Node: "s"})
	p.Demand(t, 10, 100)
	for _, want := range []int{5, 1000} { // the large one alone, on what is left
		frame, _ := p.Next(t)
		if n := len(frame.GetBatch().GetPayload().GetData()); n != want {
			t.Fatalf("a frame of %d bytes, want %d", n, want)
		}
	}
	p.Demand(t, 0, 1)
	if frame, _ := p.Next(t); string(frame.GetBatch().GetPayload().GetData()) != "end" {
		t.Errorf("got %v", frame)
	}
}

func TestSourceDoesNotHoldASingleRecordForLong(t *testing.T) {
	p := serve(t, meshloom.New("s", meshloom.Source(func(ctx context.Context, _ meshloom.Checkpoint) iter.Seq2[meshloom.Record, error] {
		return func(yield func(meshloom.Record, error) bool) {
			if yield(meshloom.Record{Data: 1, Time: time.Unix(1, 0), Key: "k", Type: "t", Subject: "s", Source: "here", ID: "mine", Extensions: map[string]any{"a": true}}, nil) {
				<-ctx.Done() // nothing more comes
			}
		}
	}))).Produce(t, &meshloomv1.OpenProduce{Node: "s"})
	p.Demand(t, 100, 1<<20)
	frame, _ := p.Next(t)
	view, err := columns.Decode(frame.GetBatch())
	if err != nil {
		t.Fatal(err)
	}
	at, _ := view.Time(0)
	id, _ := view.ID.At(0)
	source, _ := view.Source.At(0)
	key, _ := view.Key.At(0)
	if at != 1e9 || id != "mine" || source != "here" || key != "k" || view.Identified() {
		t.Errorf("attributes of %v", frame)
	}
	p.Stop(t)
	if frame, exhausted := p.Next(t); frame != nil || exhausted {
		t.Errorf("a stopped source says %v, exhausted %v", frame, exhausted)
	}
}

func TestSourceIsToldWhatHasSettled(t *testing.T) {
	committed, acked := make(chan string, 10), make(chan int, 10)
	p := serve(t, meshloom.New("s", meshloom.Source(func(_ context.Context, _ meshloom.Checkpoint) iter.Seq2[meshloom.Record, error] {
		return func(yield func(meshloom.Record, error) bool) {
			for i := 1; i <= 3; i++ {
				if !yield(meshloom.Record{Data: i, Checkpoint: map[string]int{"at": i}, Settled: func(context.Context) error { acked <- i; return nil }}, nil) {
					return
				}
			}
		}
	}, meshloom.OnSettled(func(_ context.Context, upTo meshloom.Checkpoint) error {
		committed <- upTo.String()
		return errors.New("is logged")
	})))).Produce(t, &meshloomv1.OpenProduce{Node: "s"})
	p.Demand(t, 2, 1<<20)
	first, _ := p.Next(t)
	p.Demand(t, 1, 1<<20)
	second, _ := p.Next(t)
	p.Settled(t, second) // out of order
	if got := waitFor(t, acked, "an acknowledgement"); got != 3 {
		t.Errorf("acknowledged %d", got)
	}
	if got := waitFor(t, committed, "a commit"); got != `{"at":3}` {
		t.Errorf("committed %s", got)
	}
	p.Settled(t, first)
	if a, b := waitFor(t, acked, "the second"), waitFor(t, acked, "the third"); a != 1 || b != 2 {
		t.Errorf("acknowledged %d and %d", a, b)
	}
}

func TestSourceFailures(t *testing.T) {
	source := func(run func(yield func(meshloom.Record, error) bool)) *meshloom.Node {
		return meshloom.New("s", meshloom.Source(func(context.Context, meshloom.Checkpoint) iter.Seq2[meshloom.Record, error] { return run }))
	}
	for says, node := range map[string]*meshloom.Node{
		"away":     source(func(yield func(meshloom.Record, error) bool) { yield(meshloom.Record{}, errors.New("away")) }),
		"panicked": source(func(func(meshloom.Record, error) bool) { panic("ouch") }),
		"came twice in a row": source(func(yield func(meshloom.Record, error) bool) {
			_ = yield(meshloom.Record{Data: 1, Checkpoint: 1}, nil) && yield(meshloom.Record{Data: 2, Checkpoint: 1}, nil)
		}),
		"keep a position": source(func(yield func(meshloom.Record, error) bool) {
			yield(meshloom.Record{Data: 1, Checkpoint: strings.Repeat("x", columns.MaxCheckpointBytes)}, nil)
		}),
		"EVENT_TOO_LARGE": source(func(yield func(meshloom.Record, error) bool) {
			yield(meshloom.Record{Data: make([]byte, columns.MaxEventBytes+1)}, nil)
		}),
		"ATTRIBUTE_TOO_LARGE": source(func(yield func(meshloom.Record, error) bool) {
			yield(meshloom.Record{Data: 1, Key: strings.Repeat("k", 1025)}, nil)
		}),
	} {
		p := serve(t, node).Produce(t, &meshloomv1.OpenProduce{Node: "s"})
		reason := map[bool]string{true: "CHECKPOINT_REPEATED", false: "SOURCE_FAILED"}[says == "came twice in a row"]
		wantStatus(t, endedSource(p), codes.Aborted, reason, says)
	}
}

// endedSource gives credit and reads until the stream ends: what came before a failure is sent first.
func endedSource(p *harness.Produce) error {
	// Some fail before the demand arrives: the stream has ended then.
	_ = p.Stream.Send(&meshloomv1.ProduceRequest{Request: &meshloomv1.ProduceRequest_Demand{Demand: &meshloomv1.Demand{Events: 100, Bytes: 1 << 20}}})
	for {
		if _, err := p.Stream.Recv(); err != nil {
			return err
		}
	}
}

func TestSourceDrainsAsIfStopped(t *testing.T) {
	s := serve(t, meshloom.New("s", meshloom.Source(func(ctx context.Context, _ meshloom.Checkpoint) iter.Seq2[meshloom.Record, error] {
		return func(yield func(meshloom.Record, error) bool) {
			if yield(meshloom.Record{Data: 1}, nil) {
				<-ctx.Done()
				yield(meshloom.Record{}, ctx.Err())
			}
		}
	})))
	p := s.Produce(t, &meshloomv1.OpenProduce{Node: "s"})
	p.Demand(t, 100, 1<<20)
	if frame, _ := p.Next(t); frame.GetBatch().GetCount() != 1 {
		t.Errorf("got %v", frame)
	}
	s.Drain()
	if _, err := p.Stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v, want OK", err)
	}
}

func TestSourceRefusesAForeignCheckpoint(t *testing.T) {
	s := serve(t, meshloom.New("s", counting(3)))
	wantViolation(t, endedSource(s.Produce(t, &meshloomv1.OpenProduce{Node: "s", Checkpoint: []byte(`"words"`)})), "checkpoint", "another version of this source")
	_, err := s.TryProduce(t, &meshloomv1.OpenProduce{Node: "s", Checkpoint: []byte("no JSON")})
	wantViolation(t, err, "checkpoint", "is no JSON")
	_, err = s.TryProduce(t, &meshloomv1.OpenProduce{Node: "s", Checkpoint: make([]byte, columns.MaxCheckpointBytes+1)})
	wantViolation(t, err, "checkpoint", "the limit is 65536")
	typed := serve(t, meshloom.New("s", meshloom.Source(func(_ context.Context, from int) iter.Seq2[meshloom.Record, error] {
		return func(yield func(meshloom.Record, error) bool) { yield(meshloom.Record{Data: from}, nil) }
	})))
	_, err = typed.TryProduce(t, &meshloomv1.OpenProduce{Node: "s", Checkpoint: []byte(`"words"`)}) // before it opens
	wantViolation(t, err, "checkpoint", "does not fit *int")
	resumed := typed.Produce(t, &meshloomv1.OpenProduce{Node: "s", Checkpoint: []byte(`7`)})
	resumed.Demand(t, 10, 1<<20)
	if got := idsOf(t, frames(t, resumed)); got != "7=7#1" {
		t.Errorf("got %s", got)
	}
	gone := meshloom.New("s", meshloom.Source(func(context.Context, meshloom.Checkpoint) iter.Seq2[meshloom.Record, error] {
		return func(yield func(meshloom.Record, error) bool) {
			yield(meshloom.Record{}, &meshloom.CheckpointError{Err: errors.New("the log was cut")})
		}
	}))
	wantViolation(t, endedSource(serve(t, gone).Produce(t, &meshloomv1.OpenProduce{Node: "s"})), "checkpoint", "the log was cut")
}

func TestLongCheckpointsStandInIdsAsTheirHash(t *testing.T) {
	for _, c := range []struct {
		bytes int
		id    string
	}{
		{256, `"` + strings.Repeat("x", 254) + `"#1`},
		{257, fmt.Sprintf("%x#1", sha256.Sum256([]byte(`"`+strings.Repeat("x", 255)+`"`)))},
	} {
		checkpoint := strings.Repeat("x", c.bytes-2) // two quotes more as JSON
		p := serve(t, meshloom.New("s", meshloom.Source(func(context.Context, meshloom.Checkpoint) iter.Seq2[meshloom.Record, error] {
			return func(yield func(meshloom.Record, error) bool) {
				_ = yield(meshloom.Record{Data: 1, Checkpoint: checkpoint}, nil) && yield(meshloom.Record{Data: 2}, nil)
			}
		}))).Produce(t, &meshloomv1.OpenProduce{Node: "s"})
		p.Demand(t, 10, 1<<20)
		if got, want := idsOf(t, frames(t, p)), "1=#1 2="+c.id; got != want {
			t.Errorf("%d bytes: got %s, want %s", c.bytes, got, want)
		}
	}
}
