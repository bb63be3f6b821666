package main

import (
	"context"
	"errors"
	"os"
	"time"

	"go.opentelemetry.io/otel"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

// errNothing asks a handler to answer with nothing at all.
var errNothing = errors.New("nothing")

// act does what a command asks for. It returns the outputs: nil lets the event pass as it is.
func (in *interpreter) act(ctx context.Context, c command, event meshloom.Event) ([]meshloom.Out[any], error) {
	span := time.Duration(c.MS) * time.Millisecond
	switch c.Do {
	case "pass":
	case "drop":
		return nil, meshloom.Drop
	case "nothing":
		return nil, errNothing
	case "emit":
		return outputsOf(c, event)
	case "copy":
		return one(copyOf(event)), nil
	case "context":
		return one(meshloom.Emit[any](in.describe(ctx, event))), nil
	case "report":
		return one(meshloom.Emit[any](in.report())), nil
	case "reject":
		return nil, meshloom.Reject(c.Reason, said(c))
	case "retry":
		if c.asked(event) {
			return nil, &meshloom.RetryError{Reason: c.Reason, After: time.Duration(c.AfterMS) * time.Millisecond, Err: said(c)}
		}
	case "throw":
		if c.asked(event) {
			return nil, errors.New(c.Message)
		}
	case "panic":
		panic(c.Message)
	case "sleep":
		select {
		case <-ctx.Done():
			in.noteCancelled(event.UID().String())
			return nil, ctx.Err()
		case <-time.After(span):
		}
	case "block":
		time.Sleep(span)
	case "spin", "hold":
		for began := time.Now(); time.Since(began) < span; {
		}
	case "note":
		in.noteKey(event, c.N)
	case "spans":
		openSpans(ctx, c.Names)
	case "log":
		meshloom.Logger(ctx).InfoContext(ctx, c.Message)
	case "allocate":
		allocate(c.Bytes)
	case "exit":
		os.Exit(c.Status)
	case "stream", "twice", "misname", "whole":
		return nil, meshloom.Rejectf("UNWRITABLE", "this handler cannot %s", c.Do)
	default:
		return nil, meshloom.Rejectf("PAYLOAD_MISMATCH", "there is no command %q", c.Do)
	}
	return nil, nil
}

func one(out meshloom.Out[any]) []meshloom.Out[any] { return []meshloom.Out[any]{out} }

func outputsOf(c command, event meshloom.Event) ([]meshloom.Out[any], error) {
	outs := make([]meshloom.Out[any], len(c.Outputs))
	for i, o := range c.Outputs {
		var err error
		if outs[i], err = o.of(event); err != nil {
			return nil, err
		}
	}
	return outs, nil
}

// asked tells whether a command that ends at an attempt is still to be obeyed.
func (c command) asked(event meshloom.Event) bool {
	return c.Until == nil || event.Attempt() < *c.Until
}

// said is the message of a verdict, nil: the SDK's own.
func said(c command) error {
	if c.Message == "" {
		return nil
	}
	return errors.New(c.Message)
}

func (in *interpreter) noteKey(event meshloom.Event, n int64) {
	if key, ok := event.Lookup(meshloom.AttrKey); ok {
		in.note(key, n)
	} else {
		in.note(nil, n)
	}
}

// openSpans opens spans, each inside the one before.
func openSpans(ctx context.Context, names []string) {
	if len(names) == 0 {
		return
	}
	ctx, span := otel.Tracer("interpreter").Start(ctx, names[0])
	defer span.End()
	openSpans(ctx, names[1:])
}

// allocate holds memory; each page is written to, so that it is really there.
func allocate(bytes int) {
	held := make([]byte, bytes)
	for i := 0; i < bytes; i += os.Getpagesize() {
		held[i] = 1
	}
}
