package meshloom_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/internal/harness"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// chaos does what the payload says, with pauses, large outputs and failures.
func chaos(ctx context.Context, in command) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		switch in.Do {
		case "drop":
			return
		case "wait":
			select {
			case <-ctx.Done():
				yield("", ctx.Err())
				return
			case <-time.After(time.Duration(in.N) * time.Millisecond):
			}
		case "retry":
			yield("", meshloom.Retry(errors.New("later")))
			return
		case "large":
			for range in.N % 2 * 5 { // none or 1.5 MiB
				if !yield(strings.Repeat("x", 300<<10), nil) {
					return
				}
			}
			return
		case "late":
			if yield("early", nil) {
				yield("", meshloom.Rejectf("LATE", "late"))
			}
			return
		case "panic":
			panic("ouch")
		}
		yield(fmt.Sprint(in.N), nil)
	}
}

// TestTheBooksBalanceUnderChaos sends random works side by side, takes some back at random moments, and holds every
// answer against the protocol's accounting: each input closed once, nothing after the last.
func TestTheBooksBalanceUnderChaos(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	kinds := []string{"", "", "", "", "drop", "wait", "retry", "large", "late", "panic"}
	for _, ordering := range []meshloomv1.Ordering{meshloomv1.Ordering_ORDERING_NONE, meshloomv1.Ordering_ORDERING_KEY, meshloomv1.Ordering_ORDERING_ALL} {
		t.Run(ordering.String(), func(t *testing.T) {
			p := serve(t, meshloom.New("n", meshloom.FlatMap(chaos), meshloom.Concurrency(4))).Process(t, &meshloomv1.OpenProcess{Node: "n", Ordering: ordering})
			open := map[uint64]*harness.Books{}
			sent, ended := uint64(0), 0
			for ended < 40 {
				for sent < 40 && len(open) < 8 {
					sent++
					count := 1 + random.IntN(25)
					payloads, keys := make([]string, count), make([]string, count)
					for i := range payloads {
						payloads[i] = fmt.Sprintf(`{"n":%d,"do":%q}`, 1+random.IntN(6), kinds[random.IntN(len(kinds))])
						keys[i] = fmt.Sprintf("w%d-%d", sent, random.IntN(5))
					}
					work := workOf(sent, payloads...)
					work.Batch.Key = harness.Texts(keys...)
					work.Timeout = durationpb.New(2 * time.Millisecond)
					open[sent] = harness.NewBooks(work)
					p.Send(t, work)
					if random.IntN(3) == 0 {
						p.Cancel(t, 1+random.Uint64N(sent))
					}
				}
				result := p.Next(t)
				books := open[result.GetSequence()]
				if books == nil {
					t.Fatalf("a result of sequence %d, which is not open", result.GetSequence())
				}
				last, err := books.Add(result)
				if err != nil {
					t.Fatal(err)
				}
				if last {
					delete(open, result.GetSequence())
					ended++
				}
			}
		})
	}
}
