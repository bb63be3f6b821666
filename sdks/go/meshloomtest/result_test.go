package meshloomtest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// told is a testing.TB that remembers what failed.
type told struct {
	testing.TB
	errors   []string
	logs     []string
	cleanups []func()
}

func (*told) Helper()             {}
func (f *told) Failed() bool      { return len(f.errors) > 0 }
func (f *told) Cleanup(do func()) { f.cleanups = append(f.cleanups, do) }
func (f *told) Errorf(format string, args ...any) {
	f.errors = append(f.errors, strings.TrimSpace(fmt.Sprintf(format, args...)))
}
func (f *told) Logf(format string, args ...any) {
	f.logs = append(f.logs, fmt.Sprintf(format, args...))
}

func TestExpectShowsHowTheyDiffer(t *testing.T) {
	r := &Result{
		Outputs:  []Output{{Input: 0, Data: []byte(`1`), Key: "k", Route: "r", Time: time.Unix(0, 0).UTC()}, {Input: WholeBatch, Data: []byte{0xff}}, {Input: 3, Passed: true}},
		Dropped:  []int{1},
		Rejected: []Failure{{Input: 2, Reason: "NO", Message: "why"}},
		Retried:  []Failure{{Input: 4, Reason: "BUSY", Message: "later", RetryAfter: time.Second}},
	}
	lines := []string{"0: 1 key=k route=r time=1970-01-01T00:00:00Z", "1: dropped", "2: rejected NO", "3: passed", "4: retried BUSY after 1s: later", `batch: "\xff"`}
	r.Expect(t, lines...)

	f := &told{TB: t}
	lines[1] = "1: passed"
	r.Expect(f, append(lines[:4:4], lines[5])...)
	want := `what became of the events (-want +got):
  0: 1 key=k route=r time=1970-01-01T00:00:00Z
- 1: passed
+ 1: dropped
  2: rejected NO: why
  3: passed
+ 4: retried BUSY after 1s: later
  batch: "\xff"`
	if len(f.errors) != 1 || f.errors[0] != want {
		t.Errorf("said %q", f.errors)
	}
}

func TestTheSeedOfSplitsIsPrintedOnFailure(t *testing.T) {
	f := &told{TB: t}
	first := Options{Splits: 4}.cut(f, 100)
	f.cleanups[0]()
	if len(f.logs) != 0 {
		t.Errorf("said without a failure: %v", f.logs)
	}
	f.Errorf("failed")
	f.cleanups[0]()
	var seed uint64
	if _, err := fmt.Sscanf(f.logs[0][strings.Index(f.logs[0], "Seed"):], "Seed: %d}", &seed); err != nil {
		t.Fatal(err)
	}
	again := Options{Splits: 4, Seed: seed}.cut(f, 100)
	sum := 0
	for i, count := range again {
		sum += count
		if i >= len(first) || first[i] != count {
			t.Errorf("cut into %v, then into %v", first, again)
			break
		}
	}
	if sum != 100 {
		t.Errorf("%d events of 100", sum)
	}
}
