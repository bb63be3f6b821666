// The publisher of the e2e tests in Go: publish ADDRESS COUNT publishes {"n": 1..COUNT, "do": "pass"}, waits until all is
// acknowledged, and says how many were.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

// patience is for everything to be acknowledged, over a restart of the pipeline too.
const patience = 120 * time.Second

func main() {
	if err := publish(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func publish(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: publish ADDRESS COUNT")
	}
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	publisher, err := meshloom.NewPublisher(args[0], meshloom.PublisherOptions{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var acks []*meshloom.Acknowledgement
	for n := 1; n <= count; n++ {
		event := meshloom.Record{Data: map[string]any{"n": n, "do": "pass"}, Key: strconv.Itoa(n), Type: "test"}
		ack, err := publisher.Publish(ctx, event)
		if err != nil {
			return err
		}
		acks = append(acks, ack)
	}
	if err := publisher.Close(ctx); err != nil {
		return err
	}
	for _, ack := range acks {
		if err := ack.Wait(ctx); err != nil {
			return err
		}
	}
	fmt.Printf("acknowledged %d\n", len(acks))
	return nil
}
