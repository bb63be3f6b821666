package main

import "sync"

// ledger holds what has happened in this process, for the command report.
type ledger struct {
	mu        sync.Mutex
	failed    bool // a set-up has failed once
	setups    int
	teardowns int
	calls     int
	running   int
	most      int // calls at one time
	cancelled []string
	notes     [][2]any // key and n
}

func (l *ledger) count(what *int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*what++
}

// firstFailure tells whether it is the first to be asked.
func (l *ledger) firstFailure() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := !l.failed
	l.failed = true
	return first
}

// begin takes down that a call begins; what it returns, that it has ended.
func (l *ledger) begin() (end func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	l.running++
	l.most = max(l.most, l.running)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.running--
	}
}

func (l *ledger) noteCancelled(uid string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancelled = append(l.cancelled, uid)
}

func (l *ledger) note(key any, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notes = append(l.notes, [2]any{key, n})
}

// report tells everything, and forgets what is told once.
func (l *ledger) report() map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	told := map[string]any{
		"setups": l.setups, "teardowns": l.teardowns, "calls": l.calls, "most": l.most,
		"cancelled": append([]string{}, l.cancelled...), "notes": append([][2]any{}, l.notes...),
	}
	l.cancelled, l.notes, l.most = nil, nil, l.running
	return told
}
