package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

type config struct {
	Label   string        `json:"label" doc:"told by context"`
	Command *command      `json:"command" doc:"obeyed for every event in place of its payload"`
	Setup   string        `json:"setup" doc:"refuse, fail or fail_once"`
	Wait    time.Duration `json:"wait" default:"0s" doc:"told by context"`
	Room    meshloom.Size `json:"room" default:"1KiB" doc:"told by context"`
	Log     string        `json:"log" doc:"file that gets a line for each set-up, tear-down and what has settled"`
	Program program       `json:"program" doc:"what a source does"`
}

// interpreter is what a handler works with: one per set-up.
type interpreter struct {
	*ledger
	config
}

// with makes the set-up of a handler: it fails as the config asks, and is torn down once.
func with[H meshloom.HandlerKind](l *ledger, handler func(*interpreter) H) func(context.Context, config) (H, error) {
	return func(_ context.Context, cfg config) (h H, err error) {
		in := &interpreter{l, cfg}
		if err := in.setUp(); err != nil {
			return h, err
		}
		return meshloom.OnStop(handler(in), in.tearDown), nil
	}
}

func (in *interpreter) setUp() error {
	switch in.Setup {
	case "refuse":
		return meshloom.InvalidConfig("setup", "refused, as it asks for")
	case "fail":
		return errors.New("set-up fails, as the config asks for")
	case "fail_once":
		if in.firstFailure() {
			return errors.New("the first set-up fails, as the config asks for")
		}
	case "":
	default:
		return meshloom.InvalidConfig("setup", "want refuse, fail or fail_once, got %q", in.Setup)
	}
	in.count(&in.setups)
	return in.log("setup", in.Label)
}

func (in *interpreter) tearDown() error {
	in.count(&in.teardowns)
	return in.log("teardown", in.Label)
}

// log appends a line to the file of the config, if it names one: in one write, since processes may share the file.
func (in *interpreter) log(words ...any) error {
	if in.Log == "" {
		return nil
	}
	file, err := os.OpenFile(in.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(file, words...)
	return errors.Join(err, file.Close())
}
